"""The maker of the miniature: data, stages, evaluation. No server process imports it."""

"""What the tests of the page share: a browser, pages that are watched, servers, fingers, screens."""

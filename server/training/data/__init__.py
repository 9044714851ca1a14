"""What the miniature learns from: named objects, colours and layouts, composed to scenes and told in two languages."""

"""`snntha reproduce`: the paper's tables and figures, and our own comparisons, cell by cell, into results/."""

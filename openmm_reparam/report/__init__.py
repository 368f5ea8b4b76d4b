"""Reports that people look at: self-contained HTML pages."""

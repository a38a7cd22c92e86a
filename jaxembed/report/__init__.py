"""From finished runs to tidy results, tables, plots and tests of significance."""

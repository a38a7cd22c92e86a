"""Finished runs are turned into tidy results, tables, plots and tests of significance."""

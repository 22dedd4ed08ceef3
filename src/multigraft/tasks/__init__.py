"""Tasks and suites: what is asked, where its rows lie, and how they are read and checked."""

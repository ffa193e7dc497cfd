"""The promises that every optimizer of the workspace keeps, as checks that a test can call."""

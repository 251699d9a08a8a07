//! The behaviour every provider must show, as a test suite.

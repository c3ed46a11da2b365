//! The tests in a real cluster.

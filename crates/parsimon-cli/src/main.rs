//! The `parsimon` command.
fn main() {}

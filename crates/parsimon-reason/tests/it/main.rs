//! Tests through the public interface, most of them on the golden files of `data/reasoning`.

mod grader;

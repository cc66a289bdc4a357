//! How each data set reads its answers and compares them.

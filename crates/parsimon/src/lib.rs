//! Parsimon: an efficient language-model stack (curate, train, quantize, run, retrieve) behind one facade.

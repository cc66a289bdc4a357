//! Vector index updated in place: the vocabulary of SPFresh.

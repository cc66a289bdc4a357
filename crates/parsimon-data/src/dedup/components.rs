//! Connected components by union to the smaller root, so that a component's label is its least member whatever the order of edges.

/// Clusters of documents.
#[derive(Clone, Debug)]
pub struct Components {
    parents: Vec<u32>,
}

impl Components {
    /// `n` documents, each its own cluster.
    pub fn new(n: u32) -> Components {
        Components { parents: (0..n).collect() }
    }

    /// The least document of the cluster of `document`.
    ///
    /// # Panics
    ///
    /// When there is no such document.
    pub fn root(&mut self, mut document: u32) -> u32 {
        while self.parents[document as usize] != document {
            let grandparent = self.parents[self.parents[document as usize] as usize];
            self.parents[document as usize] = grandparent;
            document = grandparent;
        }
        document
    }

    /// Puts the clusters of two documents together.
    ///
    /// # Panics
    ///
    /// As [`Components::root`].
    pub fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

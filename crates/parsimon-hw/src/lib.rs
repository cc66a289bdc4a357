//! Hardware models: the vocabulary of LUT Tensor Core and LUT-DLA.

//! Vector quantization: the vocabulary of VPTQ and LUT-DLA.

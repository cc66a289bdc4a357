//! Low-bit matrix multiply by table lookup (T-MAC, LUT Tensor Core) without dequantization.

//! VPTQ: the weights of a layer as vectors along its outputs, each replaced by a row of a small codebook.
//!
//! PAPER(vptq Algorithm 1). [`prepare`] normalises the columns, rescales the Hessian with them, orders the columns by descending diagonal and factors;
//! [`train`] finds the codebooks by weighted k-means and refines them by rounds of passes and refits; [`pass`] encodes one column after the other and
//! spreads its error; [`finish`] rounds what the file stores and encodes once more with it.

mod config;
mod finetune;
mod finish;
mod pass;
mod prepare;
mod train;

pub use config::{ColumnOrder, ColumnWeights, Norm, OutlierConfig, Outliers, ResidualSource, VptqCompat, VptqConfig};
pub use finetune::{FinetuneConfig, Finetuned, finetune};
use parsimon_core::Control;
use prepare::Prepared;

use crate::quantizer::{Layer, LayerReport, QuantizeError, Quantizer};
use crate::{Numerics, VptqLinear};

/// The quantizer of a [`VptqConfig`].
#[derive(Clone, PartialEq, Debug)]
pub struct Vptq {
    /// What it does.
    pub config: VptqConfig,
}

/// Codebooks in `f64`: `[K, v]` each.
#[derive(Clone, Default, Debug)]
struct Books {
    outlier: Option<Vec<f64>>,
    /// One a group.
    main: Vec<Vec<f64>>,
    /// One a group, or none.
    residual: Vec<Vec<f64>>,
}

/// Codes of all columns in their order.
#[derive(Clone, Default, Debug)]
struct Codes {
    /// `[k][R]`; 0 for outlier columns.
    main: Vec<u16>,
    /// `[k][R]`, or empty.
    residual: Vec<u16>,
    /// `[ol][R0]`.
    outlier: Vec<u16>,
}

impl Quantizer for Vptq {
    type Out = VptqLinear;

    fn quantize(&self, layer: &Layer<'_>, control: &Control<'_>) -> Result<(VptqLinear, LayerReport), QuantizeError> {
        match self.config.numerics {
            Numerics::Exact => self.quantize_as::<f64>(layer, control),
            Numerics::Fast => self.quantize_as::<f32>(layer, control),
        }
    }
}

impl Vptq {
    fn quantize_as<T: crate::kernel::assign::Real>(
        &self,
        layer: &Layer<'_>,
        control: &Control<'_>,
    ) -> Result<(VptqLinear, LayerReport), QuantizeError> {
        layer.check()?;
        self.config.check()?;
        let prepared = Prepared::new(layer, &self.config)?;
        control.cancel.check()?;
        let mut report = LayerReport {
            name: layer.name.to_owned(),
            m: layer.m,
            k: layer.k,
            percdamp: Some(prepared.factor.percdamp),
            ..LayerReport::default()
        };
        let books = train::train::<T>(&prepared, &self.config, layer.name, &mut report, control)?;
        let linear = finish::finish::<T>(&prepared, &self.config, books, &mut report);
        let mut decoded = vec![0.0; layer.m * layer.k];
        linear.dequantize_into(&mut decoded);
        report.rel = layer.proxy_error(decoded.into_iter().map(f64::from));
        report.bits = linear.bits();
        self.warn(layer, &linear, &mut report);
        Ok((linear, report))
    }

    fn warn(&self, layer: &Layer<'_>, linear: &VptqLinear, report: &mut LayerReport) {
        let VptqConfig { outlier, groups, centroids, residual, .. } = &self.config;
        let outlier = outlier.iter().filter(|_| linear.outliers() > 0).map(|outlier| outlier.centroids);
        let residuals = if *residual > 0 { *groups } else { 0 };
        let expected =
            outlier.chain(std::iter::repeat_n(*centroids, *groups)).chain(std::iter::repeat_n(*residual, residuals));
        for (i, (kmeans, expected)) in report.kmeans.iter().zip(expected).enumerate() {
            let used = kmeans.used;
            if used < expected {
                report
                    .warnings
                    .push(format!("codebook {i}: {used} of {expected} centroids are used, the others are zero"));
            }
        }
        if layer.hessian.is_thin() {
            let (tokens, k) = (layer.hessian.tokens(), layer.k);
            report.warnings.push(format!("{tokens} tokens for {k} columns: fewer than four a column"));
        }
    }
}

//! Functions of doubles as Java computes them, operation by operation, so that the last bit is the
//! same. Java's `StrictMath` is fdlibm, and so are what `libm` has of it (FreeBSD's msun); the
//! hyperbolic functions and the cube root of others are newer ones.
//!
//! Source: fdlibm 5.3, `e_cosh.c`, `e_sinh.c`, `s_tanh.c`, `s_cbrt.c`; Spark's `mathExpressions.scala`
//! for the inverse ones.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::Float64Type;
use datafusion::logical_expr::ScalarUDF;

use super::kernel::{double, kernel};

/// Where `exp` of it has no room any more, and that of its half has.
const HYPERBOLIC_MAX: f64 = 710.475_860_073_943_9;
/// Where `exp` of it has no room any more, by the upper word of it: fdlibm looks at no more.
const EXP_MAX: f64 = f64::from_bits(0x4086_2e42 << 32);
/// Half the logarithm of 2, by its upper word.
const HALF_LN_2: f64 = f64::from_bits(0x3fd6_2e43 << 32);
/// From here on the smaller of two exponentials does not count.
const ONE_COUNTS: f64 = 22.0;
/// 2^-55
const TINY: f64 = 2.775_557_561_562_891_4e-17;

/// Makes a kernel of a function.
macro_rules! of_double {
    ($name:ident, $function:expr) => {
        pub(crate) fn $name() -> Arc<ScalarUDF> {
            kernel(stringify!($name), double, |columns, _| {
                let values = columns[0].as_primitive::<Float64Type>();
                let results: Float64Array = values.unary($function);
                Ok(Arc::new(results) as ArrayRef)
            })
        }
    };
}

of_double!(acos, libm::acos);
of_double!(asin, libm::asin);
of_double!(atan, libm::atan);
of_double!(expm1, libm::expm1);
of_double!(sqrt, f64::sqrt);
of_double!(acosh, |x: f64| libm::log(x + (x * x - 1.0).sqrt()));
of_double!(asinh, |x: f64| match x {
    f64::NEG_INFINITY => x,
    _ => libm::log(x + (x * x + 1.0).sqrt()),
});
of_double!(atanh, |x: f64| 0.5 * (libm::log1p(x) - libm::log1p(-x)));
of_double!(cosh, cosh_of);
of_double!(sinh, sinh_of);
of_double!(tanh, tanh_of);
of_double!(cbrt, cbrt_of);

fn cosh_of(x: f64) -> f64 {
    let size = x.abs();
    if size < HALF_LN_2 {
        let t = libm::expm1(size);
        let w = 1.0 + t;
        return if size < TINY { w } else { 1.0 + (t * t) / (w + w) };
    }
    if size < ONE_COUNTS {
        let t = libm::exp(size);
        return 0.5 * t + 0.5 / t;
    }
    if size < EXP_MAX {
        return 0.5 * libm::exp(size);
    }
    if size <= HYPERBOLIC_MAX {
        let w = libm::exp(0.5 * size);
        return (0.5 * w) * w;
    }
    size * f64::INFINITY
}

fn sinh_of(x: f64) -> f64 {
    const SMALL: f64 = 3.725_290_298_461_914e-9;
    let (half, size) = (0.5_f64.copysign(x), x.abs());
    if !x.is_finite() {
        return x + x;
    }
    if size < ONE_COUNTS {
        if size < SMALL {
            return x;
        }
        let t = libm::expm1(size);
        let sum = if size < 1.0 { 2.0 * t - t * t / (t + 1.0) } else { t + t / (t + 1.0) };
        return half * sum;
    }
    if size < EXP_MAX {
        return half * libm::exp(size);
    }
    if size <= HYPERBOLIC_MAX {
        let w = libm::exp(0.5 * size);
        return (half * w) * w;
    }
    x * f64::INFINITY
}

fn tanh_of(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() {
        return x;
    }
    let tangent = if size < TINY {
        return x * (1.0 + x);
    } else if size < 1.0 {
        let t = libm::expm1(-2.0 * size);
        -t / (t + 2.0)
    } else if size < ONE_COUNTS {
        let t = libm::expm1(2.0 * size);
        1.0 - 2.0 / (t + 2.0)
    } else {
        1.0
    };
    tangent.copysign(x)
}

fn cbrt_of(x: f64) -> f64 {
    /// What the upper words of a number and of its root differ by, of normal and of subnormal ones.
    const SHIFTS: (u32, u32) = (715_094_163, 696_219_795);
    const C: f64 = 19.0 / 35.0;
    const D: f64 = -864.0 / 1_225.0;
    const E: f64 = 99.0 / 70.0;
    const F: f64 = 45.0 / 28.0;
    const G: f64 = 5.0 / 14.0;
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let size = x.abs();
    let upper = |value: f64| (value.to_bits() >> 32) as u32;
    let of_upper = |upper: u32| f64::from_bits(u64::from(upper) << 32);
    let rough = match size.is_normal() {
        true => of_upper(upper(size) / 3 + SHIFTS.0),
        false => of_upper(upper(size * 18_014_398_509_481_984.0) / 3 + SHIFTS.1),
    };
    // To 23 bits, then cut to 20 and rounded up, so that its square is exact.
    let r = rough * rough / size;
    let s = C + r * rough;
    let root = rough * (G + F / (s + E + D / s));
    let root = of_upper(upper(root) + 1);
    // One step of Newton's, to 53 bits.
    let s = root * root;
    let r = size / s;
    let r = (r - root) / (root + root + r);
    (root + root * r).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bit_is_java_s() {
        // Java 17: Math.cosh(-1), Math.cbrt(-2.5).
        assert_eq!(cosh_of(-1.0).to_bits(), 1.543_080_634_815_244_f64.to_bits());
        assert_eq!(cbrt_of(-2.5).to_bits(), (-1.357_208_808_297_453_2_f64).to_bits());
        assert_eq!(cbrt_of(27.0), 3.0);
        assert_eq!(tanh_of(f64::NEG_INFINITY), -1.0);
        assert_eq!(sinh_of(-0.0).to_bits(), (-0.0_f64).to_bits());
    }
}

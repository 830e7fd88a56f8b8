//! The crate `num-complex`: its `Complex<f64>` and `Complex<f32>` are Go's `complex128` and `complex64`.
//!
//! On the wire, both are the same. A `Complex<f32>` loses digits of what a `complex128` sends, and refuses numbers
//! beyond its range, as Go does. Complex numbers of integers have no counterpart.

use num_complex::Complex;

use crate::describe::Describer;
use crate::error::Error;
use crate::gob::Gob;
use crate::plan::At;
use crate::read::Reader;
use crate::schema::NodeId;
use crate::write::Writer;

macro_rules! complex {
    ($($part:ty)*) => {$(
        impl Gob for Complex<$part> {
            const NESTS: bool = false;

            fn describe(_: &mut Describer) -> NodeId {
                NodeId::COMPLEX
            }

            fn zero() -> Option<Self> {
                Some(Self::new(0.0, 0.0))
            }

            fn is_left_out(&self) -> bool {
                self.re == 0.0 && self.im == 0.0
            }

            fn put(&self, w: &mut Writer<'_>) -> Result<(), Error> {
                self.re.put(w)?;
                self.im.put(w)
            }

            fn get(r: &mut Reader<'_>, at: At<'_>) -> Result<Self, Error> {
                Ok(Self::new(Gob::get(r, at)?, Gob::get(r, at)?))
            }
        }
    )*};
}

complex!(f32 f64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;
    use crate::impls::{Complex as Plain, sent_as};

    proptest! {
        #[test]
        fn numbers_are_those_of_our_own_type(re: f64, im: f64, small_re: f32, small_im: f32) {
            let number = sent_as::<Complex<f64>>(&Plain { re, im }).unwrap();
            prop_assert_eq!(number, Complex::new(re, im));
            prop_assert_eq!(sent_as::<Plain>(&number).unwrap(), Plain { re, im });
            let small = Complex::new(small_re, small_im);
            let wide = sent_as::<Complex<f64>>(&small).unwrap();
            prop_assert_eq!(wide, Complex::new(small_re.into(), small_im.into()));
            prop_assert_eq!(sent_as::<Complex<f32>>(&wide).unwrap(), small);
        }
    }

    #[test]
    fn numbers_too_large_are_refused() {
        for wide in [Complex::new(1e300, 0.0), Complex::new(0.0, -1e300)] {
            let error = sent_as::<Complex<f32>>(&wide).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfRange);
        }
        let endless = Complex::new(f64::INFINITY, 0.0);
        assert_eq!(sent_as::<Complex<f32>>(&endless).unwrap().re, f32::INFINITY);
    }
}

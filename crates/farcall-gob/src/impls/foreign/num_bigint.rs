//! The crate `num-bigint`: its `BigInt` and `BigUint` are Go's `big.Int`.
//!
//! Nothing is lost. A `BigUint` refuses negative numbers. Go sends a nil `*big.Int` in a list as a number without bytes,
//! and reads it as 0; so do we. `big.Rat` and `big.Float` have no counterpart here: receive them as `GobEncoded`.

use num_bigint::{BigInt, BigUint, Sign};

use crate::error::Error;
use crate::impls::SelfEncoded;
use crate::schema::Opaque;

/// What Go's number begins with: the version, and above it the sign.
const POSITIVE: u8 = 2;
const NEGATIVE: u8 = 3;

fn put(sign: u8, magnitude: &BigUint, out: &mut Vec<u8>) {
    out.push(sign);
    // Zero is no bytes at all, and one byte to num-bigint.
    if *magnitude != BigUint::ZERO {
        out.extend_from_slice(&magnitude.to_bytes_be());
    }
}

impl SelfEncoded for BigInt {
    const HOW: Opaque = Opaque::Gob;
    const NAME: &'static str = "Int";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let sign = match self.sign() {
            Sign::Minus => NEGATIVE,
            Sign::NoSign | Sign::Plus => POSITIVE,
        };
        put(sign, self.magnitude(), out);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            None => Ok(Self::ZERO),
            Some((&POSITIVE, magnitude)) => Ok(Self::from_bytes_be(Sign::Plus, magnitude)),
            Some((&NEGATIVE, magnitude)) => Ok(Self::from_bytes_be(Sign::Minus, magnitude)),
            Some((first, _)) => Err(Error::refused(format!(
                "these are not the bytes of a big.Int that is known here: they begin with {first}"
            ))),
        }
    }

    fn zero() -> Option<Self> {
        Some(Self::ZERO)
    }
}

impl SelfEncoded for BigUint {
    const HOW: Opaque = Opaque::Gob;
    const NAME: &'static str = "Int";

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        put(POSITIVE, self, out);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        BigInt::decode(bytes)?
            .try_into()
            .map_err(|_| Error::refused("a negative big.Int is out of range for BigUint"))
    }

    fn zero() -> Option<Self> {
        Some(Self::ZERO)
    }
}

crate::self_encoded!(BigInt, BigUint);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(number: &impl SelfEncoded) -> Vec<u8> {
        let mut out = vec![];
        number.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn numbers_are_the_bytes_that_go_writes() {
        for (number, expected) in [
            (0, &[2][..]),
            (-1, &[3, 1]),
            (-255, &[3, 255]),
            (256, &[2, 1, 0]),
        ] {
            let number = BigInt::from(number);
            assert_eq!(bytes(&number), expected);
            assert_eq!(BigInt::decode(expected).unwrap(), number);
        }
        // A field that holds the number itself is always sent in Go.
        assert!(!SelfEncoded::is_left_out(&BigInt::ZERO));
    }

    #[test]
    fn numbers_that_go_reads_are_read() {
        for zero in [&[][..], &[2], &[3], &[2, 0, 0]] {
            assert_eq!(BigInt::decode(zero).unwrap(), BigInt::ZERO);
            assert_eq!(BigUint::decode(zero).unwrap(), BigUint::ZERO);
        }
        assert_eq!(BigInt::decode(&[3, 0, 7]).unwrap(), BigInt::from(-7));
    }

    #[test]
    fn what_is_no_number_of_the_type_is_refused() {
        assert!(BigInt::decode(&[4, 1]).is_err());
        assert!(BigInt::decode(&[0]).is_err());
        let error = BigUint::decode(&[3, 1]).unwrap_err().to_string();
        assert_eq!(error, "gob: a negative big.Int is out of range for BigUint");
    }

    proptest! {
        #[test]
        fn every_number_survives(magnitude in proptest::collection::vec(any::<u8>(), 0..40), negative: bool) {
            let natural = BigUint::from_bytes_be(&magnitude);
            prop_assert_eq!(BigUint::decode(&bytes(&natural)).unwrap(), natural.clone());
            let sign = if negative { Sign::Minus } else { Sign::Plus };
            let number = BigInt::from_biguint(sign, natural);
            prop_assert_eq!(BigInt::decode(&bytes(&number)).unwrap(), number);
        }
    }
}

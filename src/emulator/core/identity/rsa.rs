//! A key of RSA with 2,048 bits, which `ring` signs with and does not make.
//!
//! It protects nothing but the loopback of one machine for one run, so its primes need no secrecy of the time that
//! finding them takes. `ring` checks the numbers again when it reads them.

use anyhow::{Context, Result};
use num_bigint::{BigUint, Sign};
use ring::rand::{SecureRandom, SystemRandom};

const PRIME_BITS: u64 = 1024;
const EXPONENT: u32 = 65_537;
/// For a random candidate of this size the chance of a wrong answer is below 2^-80 (FIPS 186-5, table B.1).
const ROUNDS: usize = 8;
/// Candidates that one of the primes below this divides are not tried.
const SIEVE: u32 = 2000;

/// A key that was made.
pub(super) struct Made {
    pub pkcs8: Vec<u8>,
    /// Big-endian, without leading zeros.
    pub modulus: Vec<u8>,
    pub exponent: Vec<u8>,
}

/// Makes a key. Takes some hundred milliseconds.
///
/// # Errors
/// When the system gives no random bytes.
pub(super) fn make() -> Result<Made> {
    let one = BigUint::from(1_u8);
    let exponent = BigUint::from(EXPONENT);
    let (first, second) = loop {
        let (a, b) = (prime()?, prime()?);
        if a != b {
            // ring wants the greater one first.
            break if a > b { (a, b) } else { (b, a) };
        }
    };
    let modulus = &first * &second;
    let (less_first, less_second) = (&first - &one, &second - &one);
    let order = &less_first * &less_second;
    let private = exponent
        .modinv(&order)
        .context("the exponent has no inverse")?;
    let inverse = second
        .modinv(&first)
        .context("the primes have no inverse")?;
    let numbers = [
        &BigUint::ZERO,
        &modulus,
        &exponent,
        &private,
        &first,
        &second,
        &(&private % &less_first),
        &(&private % &less_second),
        &inverse,
    ];
    Ok(Made {
        pkcs8: pkcs8(&numbers),
        modulus: modulus.to_bytes_be(),
        exponent: exponent.to_bytes_be(),
    })
}

/// A random number of exactly so many bits, its two highest ones set, so that a product has all of its bits.
fn candidate(random: &SystemRandom) -> Result<BigUint> {
    let mut bytes = vec![0; PRIME_BITS as usize / 8];
    random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let mut number = BigUint::from_bytes_be(&bytes);
    for bit in [0, PRIME_BITS - 1, PRIME_BITS - 2] {
        number.set_bit(bit, true);
    }
    Ok(number)
}

/// A prime that goes with the exponent.
fn prime() -> Result<BigUint> {
    let random = SystemRandom::new();
    let small: Vec<u32> = (3..SIEVE)
        .step_by(2)
        .filter(|n| {
            (3..*n)
                .step_by(2)
                .take_while(|d| d * d <= *n)
                .all(|d| n % d != 0)
        })
        .collect();
    let zero = BigUint::ZERO;
    loop {
        let number = candidate(&random)?;
        let divided = small.iter().any(|prime| &number % *prime == zero);
        let goes_with = (&number - 1_u8) % EXPONENT != zero;
        if !divided && goes_with && is_prime(&number, &random)? {
            return Ok(number);
        }
    }
}

/// The test of Miller and Rabin, to random bases.
fn is_prime(number: &BigUint, random: &SystemRandom) -> Result<bool> {
    let one = BigUint::from(1_u8);
    let last = number - &one;
    let twos = last.trailing_zeros().unwrap_or(0);
    let odd = &last >> twos;
    for _ in 0..ROUNDS {
        let base = candidate(random)? % &last;
        let mut power = base.modpow(&odd, number);
        if power == one || power == last {
            continue;
        }
        let mut squares = (1..twos).map(|_| {
            power = &power * &power % number;
            power == last
        });
        if !squares.any(|is_last| is_last) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A value of DER: its tag, its length, its bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    match content.len() {
        short @ 0..128 => value.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|b| *b == 0).collect();
            value.push(0x80 | bytes.len() as u8);
            value.extend(bytes);
        }
    }
    value.extend(content);
    value
}

/// The key in PKCS#8 (RFC 5958) around PKCS#1 (RFC 8017, appendix A.1.2).
fn pkcs8(numbers: &[&BigUint]) -> Vec<u8> {
    /// `rsaEncryption` without parameters.
    const ALGORITHM: [u8; 15] = [
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let integer = |number: &&BigUint| {
        let signed = num_bigint::BigInt::from_biguint(Sign::Plus, (*number).clone());
        der(0x02, &signed.to_signed_bytes_be())
    };
    let key: Vec<u8> = numbers.iter().flat_map(integer).collect();
    let content = [
        der(0x02, &[0]),
        ALGORITHM.to_vec(),
        der(0x04, &der(0x30, &key)),
    ];
    der(0x30, &content.concat())
}

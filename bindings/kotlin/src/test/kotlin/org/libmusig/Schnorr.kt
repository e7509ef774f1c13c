package org.libmusig

import java.math.BigInteger
import java.security.MessageDigest
import java.security.SecureRandom

/** BIP-340 verification, slow and by the book: what the tests believe in, rather than the library. */
object Schnorr {
    private val p = BigInteger("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f", 16)
    private val n = BigInteger("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
    private val three = BigInteger.valueOf(3)
    private val seven = BigInteger.valueOf(7)
    private val generator = Point(
        BigInteger("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", 16),
        BigInteger("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8", 16),
    )

    private data class Point(val x: BigInteger, val y: BigInteger)

    private fun add(a: Point?, b: Point?): Point? {
        if (a == null) return b
        if (b == null) return a
        if (a.x == b.x && a.y != b.y) return null
        val slope = if (a == b) {
            three * a.x * a.x * a.y.shiftLeft(1).modInverse(p)
        } else {
            (b.y - a.y) * (b.x - a.x).modInverse(p)
        }.mod(p)
        val x = (slope * slope - a.x - b.x).mod(p)
        return Point(x, (slope * (a.x - x) - a.y).mod(p))
    }

    private fun multiply(point: Point, factor: BigInteger): Point? {
        var sum: Point? = null
        for (bit in factor.bitLength() - 1 downTo 0) {
            sum = add(sum, sum)
            if (factor.testBit(bit)) sum = add(sum, point)
        }
        return sum
    }

    private fun lift(x: BigInteger): Point? {
        if (x >= p) return null
        val square = (x.modPow(three, p) + seven).mod(p)
        val y = square.modPow((p + BigInteger.ONE).shiftRight(2), p)
        if (y * y % p != square) return null
        return Point(x, if (y.testBit(0)) p - y else y)
    }

    fun tagged(tag: String, data: ByteArray): ByteArray {
        val hash = { bytes: ByteArray -> MessageDigest.getInstance("SHA-256").digest(bytes) }
        val prefix = hash(tag.toByteArray())
        return hash(prefix + prefix + data)
    }

    private fun number(bytes: ByteArray) = BigInteger(1, bytes)

    private fun bytes(number: BigInteger) = number.toByteArray().let { ByteArray(32 + it.size) + it }.takeLast(32).toByteArray()

    private fun compressed(point: Point) = byteArrayOf(if (point.y.testBit(0)) 3 else 2) + bytes(point.x)

    private fun negated(point: Point) = Point(point.x, p - point.y)

    /** The only participant of an output: MuSig2 (BIP-327) with one key, by the key path (BIP-341). */
    class Alone(secret: ByteArray) {
        private val secret = number(secret)
        private val public = compressed(multiply(generator, this.secret)!!)
        private val coefficient = number(tagged("KeyAgg coefficient", tagged("KeyAgg list", public) + public)).mod(n)
        private val aggregate = multiply(generator, this.secret * coefficient % n)!!
        private val tweak = number(tagged("TapTweak", bytes(aggregate.x)))
        private val even = if (aggregate.y.testBit(0)) negated(aggregate) else aggregate
        private val output = add(even, multiply(generator, tweak))!!
        private val nonces = List(2) { BigInteger(250, SecureRandom()) + BigInteger.ONE }

        /** What its fields of BIP-373 are about: the participant key, and the output key. */
        val slot = public + compressed(output)

        val publicNonces = nonces.map { compressed(multiply(generator, it)!!) }.reduce { one, other -> one + other }

        /** The partial signature of a message, for which its nonces are used up. */
        fun partial(message: ByteArray): ByteArray {
            val binding = number(tagged("MuSig/noncecoef", publicNonces + bytes(output.x) + message)).mod(n)
            val nonce = (nonces[0] + binding * nonces[1]).mod(n)
            val point = multiply(generator, nonce)!!
            val challenge = number(tagged("BIP0340/challenge", bytes(point.x) + bytes(output.x) + message))
            val signs = aggregate.y.testBit(0) != output.y.testBit(0)
            val signed = challenge * coefficient * if (signs) n - secret else secret
            return bytes((signed + if (point.y.testBit(0)) n - nonce else nonce).mod(n))
        }
    }

    /** Whether a signature of 64 bytes over a message is of an x-only key. */
    fun verifies(key: ByteArray, message: ByteArray, signature: ByteArray): Boolean {
        val point = lift(BigInteger(1, key)) ?: return false
        val r = BigInteger(1, signature.copyOf(32))
        val s = BigInteger(1, signature.copyOfRange(32, 64))
        if (r >= p || s >= n) return false
        val challenge = tagged("BIP0340/challenge", signature.copyOf(32) + key + message)
        val e = BigInteger(1, challenge).mod(n)
        val nonce = add(multiply(generator, s), multiply(point, n - e)) ?: return false
        return !nonce.y.testBit(0) && nonce.x == r
    }
}

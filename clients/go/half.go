package graphpipe

import "math"

// F16 is an IEEE 754 number of 16 bits.
type F16 uint16

// BF16 is the upper half of a float32.
type BF16 uint16

// Float32 is the same number; none is lost.
func (h F16) Float32() float32 {
	sign, exponent, fraction := uint32(h)>>15<<31, uint32(h)>>10&31, uint32(h)&1023
	switch {
	case exponent == 31: // infinite, or none
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	case exponent == 0: // too small for the leading one: in units of 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)/(1<<24)))
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// NewF16 is the nearest number; of two, the even one.
func NewF16(f float32) F16 {
	bits := math.Float32bits(f)
	sign, rest := F16(bits>>31<<15), bits&0x7fffffff
	switch {
	case rest > 0xff<<23: // none; the first bit keeps it from becoming infinite
		return sign | 0x7e00 | F16(rest>>13&0x3ff)
	case rest >= (127+16)<<23:
		return sign | 0x7c00
	case rest < (127-14)<<23: // the sum's own rounding leaves units of 2^-24 in its last bits
		units := math.Float32bits(math.Float32frombits(rest)+0.5) - math.Float32bits(0.5)
		return sign | F16(units)
	}
	rest += 0xfff + rest>>13&1
	return sign | F16(rest>>13-(127-15)<<10)
}

// Float32 is the same number.
func (b BF16) Float32() float32 {
	return math.Float32frombits(uint32(b) << 16)
}

// NewBF16 is the nearest number; of two, the even one.
func NewBF16(f float32) BF16 {
	bits := math.Float32bits(f)
	if f != f {
		return BF16(bits>>16 | 64)
	}
	return BF16((bits + 0x7fff + bits>>16&1) >> 16)
}

package graphpipe

import (
	"math"
	"testing"
)

// Numbers of 16 bits.

func TestHalves(t *testing.T) {
	for i := 0; i < 1<<16; i++ {
		half, wide := F16(i), F16(i).Float32()
		if back := NewF16(wide); back != half && wide == wide {
			t.Fatalf("%04x is %g and comes back as %04x", i, wide, back)
		}
		if b := BF16(i); b.Float32() == b.Float32() && NewBF16(b.Float32()) != b {
			t.Fatalf("%04x as bfloat16", i)
		}
	}
	for f, wanted := range map[float32]F16{
		1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65519: 0x7bff, 65520: 0x7c00, 1e10: 0x7c00,
		6.103515625e-05: 0x0400, 5.9604645e-08: 1, 2.9802322e-08: 0, 2.99e-08: 1,
		1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, 0: 0, float32(math.Inf(-1)): 0xfc00,
		6.1035152e-05: 0x0400, -1e-30: 0x8000,
	} {
		if got := NewF16(f); got != wanted {
			t.Errorf("%g is %04x, not %04x", f, got, wanted)
		}
	}
	nan := float32(math.NaN())
	if h, b := NewF16(nan).Float32(), NewBF16(nan).Float32(); h == h || b == b {
		t.Error("NaN became a number")
	}
	if got := NewBF16(1 + 1.0/256); got != 0x3f80 {
		t.Errorf("a tie is %04x", got)
	}
	if got := NewBF16(math.MaxFloat32); got != 0x7f80 {
		t.Errorf("the largest is %04x", got)
	}
}

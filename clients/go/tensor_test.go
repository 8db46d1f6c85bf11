package graphpipe

import (
	"errors"
	"strings"
	"testing"
	"unsafe"
)

func TestScalar(t *testing.T) {
	tensor := Scalar(2.5)
	values, err := Data[float64](tensor)
	if len(tensor.Shape) != 0 || err != nil || values[0] != 2.5 || tensor.String() != "float64[]" {
		t.Error(tensor, values, err)
	}
}

func TestDataIsAViewUnlessItIsMisaligned(t *testing.T) {
	memory := bytesOf(make([]uint64, 4))
	for offset := 0; offset < 8; offset++ {
		data := memory[offset : offset+16]
		for i := range data {
			data[i] = byte(i)
		}
		values, err := Data[uint32](Tensor{Type: Uint32, Shape: []int64{4}, Data: data})
		if err != nil || values[1] != 0x07060504 {
			t.Fatal(values, err)
		}
		isView := unsafe.Pointer(&values[0]) == unsafe.Pointer(&data[0])
		if isView != (offset%4 == 0) {
			t.Errorf("at %d: a view is %v", offset, isView)
		}
	}
}

func TestTensorsThatAreNone(t *testing.T) {
	for what, tensor := range map[string]Tensor{
		"holds 8 bytes, but float32[3] needs 12": NewTensor([]float32{1, 2}, 3),
		"holds 1 strings":                        NewTensor([]string{"x"}, 2),
		"which no tensor can have":               NewTensor([]uint8{}, 1<<40, 1<<40),
		"float32[-1]":                            NewTensor([]float32{}, -1),
		"is of null":                             {},
		"is of type 15":                          {Type: 15},
		"33 dimensions":                          NewTensor([]uint8{}, make([]int, 33)...),
	} {
		if err := tensor.Check(); !errors.Is(err, ErrInvalidInput) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Data[int32](NewTensor([]float32{1})); !errors.Is(err, ErrInvalidInput) ||
		!strings.Contains(err.Error(), "float32[1], not int32") {
		t.Error(err)
	}
}

func TestBytesInTheOtherOrder(t *testing.T) {
	if got := string(reversed([]byte("abcdefgh"), 4)); got != "dcbahgfe" {
		t.Error(got)
	}
}

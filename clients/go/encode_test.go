package graphpipe

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// What is written, and what cannot be.

func roundTrip[T Element](t *testing.T, values ...T) {
	t.Helper()
	sent := NewTensor(values, 1, len(values))
	tensors, err := decodeAnswer(whole(t)(encodeAnswer([]Tensor{sent})), 200)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Data[T](tensors[0])
	if err != nil || !reflect.DeepEqual(back, append([]T{}, values...)) || tensors[0].Type != TypeOf[T]() {
		t.Errorf("%v came back as %v of %v: %v", values, back, tensors[0], err)
	}
}

func TestEveryType(t *testing.T) {
	roundTrip(t, true, false, true)
	roundTrip[uint8](t, 0, 255)
	roundTrip[int8](t, -128, 127)
	roundTrip[uint16](t, 0, 65535)
	roundTrip[int16](t, -32768, 5)
	roundTrip[uint32](t, math.MaxUint32)
	roundTrip[int32](t, math.MinInt32)
	roundTrip[uint64](t, math.MaxUint64, 1)
	roundTrip[int64](t, math.MinInt64, 1)
	roundTrip(t, NewF16(1.5), NewF16(-2))
	roundTrip[float32](t, 1.5, -2)
	roundTrip(t, math.Pi)
	roundTrip(t, NewBF16(1.5), NewBF16(-3))
	roundTrip(t, "", "a\x00b", "\xff", "ß")
	roundTrip[float32](t)
	roundTrip[string](t)
}

func TestRequestsThatAreNone(t *testing.T) {
	for what, request := range map[string]*Request{
		"2 names":       {InputNames: []string{"a", "b"}, Inputs: []Tensor{NewTensor([]uint8{1})}},
		"holds 8 bytes": {Inputs: []Tensor{NewTensor([]float32{1, 2}, 3)}},
		"limit is 4096": {OutputNames: make([]string, 4097)},
		"4097 inputs":   {Inputs: make([]Tensor, 4097)},
		"not UTF-8":     {OutputNames: []string{"\xff"}},
		"has a NUL":     {OutputNames: []string{"a\x00"}},
		"65537 bytes":   {OutputNames: []string{strings.Repeat("x", 65537)}},
	} {
		if _, err := encodeRequest(request); !errors.Is(err, ErrInvalidInput) ||
			!strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMessagesEndAt2GiB(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no large memory")
	}
	// one piece of memory stands for all of it: nothing of it is read
	half := Tensor{Type: Uint8, Shape: []int64{1 << 30}, Data: make([]byte, 1<<30)}
	if _, err := encodeRequest(&Request{Inputs: []Tensor{half}}); err != nil {
		t.Error(err)
	}
	if _, err := encodeRequest(&Request{Inputs: []Tensor{half, half}}); !errors.Is(err, ErrInvalidInput) ||
		!strings.Contains(err.Error(), "messages end at 2147483647") {
		t.Error(err)
	}
}

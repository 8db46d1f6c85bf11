package graphpipe

import (
	"encoding/binary"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Broken messages are refused, in time and memory that are in proportion to their size.

// readAll has all readers look at bytes, and all elements read; it panics if one does.
func readAll(t testing.TB, message []byte) {
	tensors, err := decodeAnswer(message, 200)
	checkFault(t, err)
	for _, tensor := range tensors {
		readElements(t, tensor)
	}
	metadata, err := decodeMetadata(message)
	checkFault(t, err)
	if err == nil && strings.ContainsRune(metadata.String(), '\x1b') {
		t.Error("the table has a control character")
	}
	request, err := decodeRequest(message)
	checkFault(t, err)
	if request != nil {
		for _, tensor := range request.Inputs {
			readElements(t, tensor)
		}
	}
}

func checkFault(t testing.TB, err error) {
	var fault *Error
	if err != nil && (!errors.As(err, &fault) || strings.ContainsAny(fault.Message, "\n\x1b")) {
		t.Errorf("%q", err)
	}
}

func readElements(t testing.TB, tensor Tensor) {
	if err := tensor.Check(); err != nil {
		t.Errorf("it was read, but %v", err)
	}
	switch tensor.Type {
	case Bool:
		values, err := Data[bool](tensor)
		checkFault(t, err)
		for _, v := range values {
			_ = v
		}
	case Float32:
		values, _ := Data[float32](tensor)
		for _, v := range values {
			_ = v
		}
	case String:
		values, _ := Data[string](tensor)
		for _, v := range values {
			_ = len(v)
		}
	}
	_ = tensor.String()
}

func TestAnyDamageIsReadOrRefused(t *testing.T) {
	for _, name := range []string{"resp_two.bin", "resp_strings.bin", "resp_error.bin",
		"resp_metadata.bin", "req_two_inputs.bin"} {
		message := golden(t, name)
		for n := range message {
			for bit := 0; bit < 8; bit++ {
				changed := append([]byte{}, message...)
				changed[n] ^= 1 << bit
				readAll(t, changed)
			}
		}
		for _, changed := range damage(message) {
			readAll(t, changed)
		}
	}
}

func TestEarlierFindings(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join(sourceDir, "tests/golden/reject/*.bin"))
	more, _ := filepath.Glob(filepath.Join(sourceDir, "tests/fuzz/corpus/message/*"))
	if len(paths) == 0 || len(more) < 100 {
		t.Fatal("no findings")
	}
	for _, path := range append(paths, more...) {
		message, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, message)
		if len(message) > 0 {
			readAll(t, message[1:]) // the first byte is for the C library's target
		}
	}
}

func TestRandomBytesAreRefused(t *testing.T) {
	draw := rand.New(rand.NewSource(1))
	for i := 0; i < 2000; i++ {
		message := make([]byte, draw.Intn(200))
		draw.Read(message)
		readAll(t, message)
	}
}

// made is an answer with a tensor, n times; all offsets of its strings lead to the same bytes.
func made(of byte, shape []int64, data string, nStrings, n int) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32(nil, 12)
	for _, v := range []uint16{8, 8, 4, 0} {
		out = le.AppendUint16(out, v)
	}
	out = le.AppendUint32(le.AppendUint32(out, 8), 4)
	out = le.AppendUint32(out, uint32(n))
	out = append(out, make([]byte, 4*n)...)
	vtable := len(out)
	for _, v := range []uint16{12, 20, 16, 4, 8, 12} {
		out = le.AppendUint16(out, v)
	}
	table := len(out)
	for i := 0; i < n; i++ {
		le.PutUint32(out[24+4*i:], uint32(table-24-4*i))
	}
	out = le.AppendUint32(out, uint32(table-vtable))
	out = append(out, make([]byte, 12)...)
	out = le.AppendUint32(out, uint32(of))
	link := func(field int) { le.PutUint32(out[table+field:], uint32(len(out)-table-field)) }
	link(4)
	out = le.AppendUint32(out, uint32(len(shape)))
	for _, d := range shape {
		out = le.AppendUint64(out, uint64(d))
	}
	link(8)
	out = append(le.AppendUint32(out, uint32(len(data))), data...)
	out = append(out, make([]byte, -len(out)&3)...)
	link(12)
	out = le.AppendUint32(out, uint32(nStrings))
	for end := len(out) + 4*nStrings; len(out) < end; {
		out = le.AppendUint32(out, uint32(end-len(out)))
	}
	out = append(le.AppendUint32(out, uint32(len(data))), data...)
	return append(out, 0)
}

func TestTheAnswerThatIsMadeHereIsOne(t *testing.T) {
	tensors, err := decodeAnswer(made(byte(Float32), []int64{2}, "\x00\x00\x80\x3f\x00\x00\x00\x40", 0, 1), 200)
	if err != nil {
		t.Fatal(err)
	}
	if values, err := Data[float32](tensors[0]); err != nil || values[0] != 1 || values[1] != 2 {
		t.Error(values, err)
	}
	tensors, err = decodeAnswer(made(byte(String), []int64{2}, "ab", 2, 2), 200)
	if err != nil || len(tensors) != 2 || strings.Join(tensors[1].Strings, " ") != "ab ab" {
		t.Error(tensors, err)
	}
}

func TestRefused(t *testing.T) {
	ones := make([]int64, 33)
	for i := range ones {
		ones[i] = 1
	}
	for what, message := range map[string][]byte{
		"a type is 15":     made(15, []int64{1}, "x", 0, 1),
		"a type is 0":      made(0, []int64{1}, "x", 0, 1),
		"needs 8":          made(byte(Float32), []int64{2}, "1234", 0, 1),
		"holds 3 bytes":    made(byte(Uint8), []int64{2}, "123", 0, 1),
		"no tensor can":    made(byte(Uint8), []int64{1 << 32, 1 << 32}, "", 0, 1),
		"too large":        made(byte(Float64), []int64{1 << 62}, "", 0, 1),
		"a dimension is":   made(byte(Uint8), []int64{-1, -1}, "x", 0, 1),
		"33 elements":      made(byte(Uint8), ones, "x", 0, 1),
		"holds 2 strings":  made(byte(String), []int64{3}, "", 2, 1),
		"4097 elements at": made(byte(Uint8), []int64{1}, "x", 0, 4097),
	} {
		if _, err := decodeAnswer(message, 200); !errors.Is(err, ErrProtocol) ||
			!strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	tensors, err := decodeAnswer(made(byte(Bool), []int64{1}, "\x02", 0, 1), 200)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Data[bool](tensors[0]); !errors.Is(err, ErrProtocol) {
		t.Error("a bool of 2 was read")
	}
}

func TestWhatIsSaidAgainAndAgainTakesNoMemory(t *testing.T) {
	for what, message := range map[string][]byte{
		"long strings": made(byte(String), []int64{5000}, strings.Repeat("x", 5000), 5000, 1),
		"many strings": made(byte(String), []int64{50000}, strings.Repeat("x", 500), 50000, 1),
		"many tensors": made(byte(String), []int64{500}, "", 500, 4096),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeAnswer(message, 200)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "so often") {
			t.Errorf("%s: %v", what, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(20*len(message)+4<<20) {
			t.Errorf("%s: %d bytes for a message of %d", what, took, len(message))
		}
	}
}

// FuzzMessage looks for bytes that a reader does not take in good order, and for messages that it
// reads and we cannot write again as the same.
func FuzzMessage(f *testing.F) {
	for _, kind := range []string{"InferRequest", "InferResponse", "MetadataResponse", "MetadataRequest"} {
		for _, c := range goldenCases(f, kind) {
			f.Add(golden(f, c.File))
		}
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		readAll(t, message)
		tensors, err := decodeAnswer(message, 200)
		if err != nil {
			return
		}
		again, err := decodeAnswer(whole(t)(encodeAnswer(tensors)), 200)
		if err != nil || !sameTensors(tensors, again) {
			t.Errorf("%v was written as %v: %v", tensors, again, err)
		}
	})
}

package graphpipe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What we write and read beside the C library, by tests/golden/codec.c.

func TestRequestsAreReadAndWrittenAsByTheCLibrary(t *testing.T) {
	recode := recoder(t)
	for _, c := range goldenCases(t, "InferRequest") {
		request, err := decodeRequest(golden(t, c.File))
		if err != nil {
			t.Fatalf("%s: %v", c.File, err)
		}
		if request.Config != c.Config || strings.Join(request.InputNames, "|") !=
			strings.Join(c.InputNames, "|") || strings.Join(request.OutputNames, "|") !=
			strings.Join(c.OutputNames, "|") || !sameTensors(request.Inputs, tensorsOf(t, c.InputTensors)) {
			t.Errorf("%s: %+v", c.File, request)
		}
		ours := whole(t)(encodeRequest(request))
		if theirs := recode("request", golden(t, c.File)); !bytes.Equal(ours, theirs) {
			t.Errorf("%s:\nours\n%s\ntheirs\n%s", c.File, hex.Dump(ours), hex.Dump(theirs))
		}
	}
}

func TestAnswersAreWrittenAsByTheCLibrary(t *testing.T) {
	recode := recoder(t)
	large := make([]float32, 5000)
	for i := range large {
		large[i] = float32(i)
	}
	tensors := []Tensor{NewTensor(large, 2, 2500), NewTensor([]int64{1, 2}), NewTensor([]uint8{7}),
		NewTensor([]float64{}, 0, 3), NewTensor(large[:1025]), Scalar(F16(1)),
		NewTensor([]string{"a", "", "é\x00"}, 3), NewTensor(make([]uint8, 4096)),
		NewTensor([]bool{true, false}), NewTensor([]BF16{1, 2, 3}, 1, 3)}
	about := &Metadata{Name: "n", Server: "s", Description: "d", Inputs: []IO{
		{"x", "an input", Float32, []int64{-1, 3}}, {"y", "", String, []int64{}}},
		Outputs: []IO{{"z", "", BFloat16, []int64{1}}}}
	for kind, ours := range map[string][][]byte{
		"request": {whole(t)(encodeRequest(&Request{Inputs: tensors, OutputNames: []string{"y"},
			Config: "config"})), whole(t)(encodeMetadataRequest())},
		"answer": {whole(t)(encodeAnswer(tensors)), whole(t)(encodeAnswer(nil)),
			whole(t)(encodeError(13, "busy: come later"))},
		"metadata": {whole(t)(encodeMetadata(about)), whole(t)(encodeMetadata(&Metadata{}))},
	} {
		for _, message := range ours {
			if theirs := recode(kind, message); !bytes.Equal(message, theirs) {
				t.Errorf("%s:\nours\n%s\ntheirs\n%s", kind, hex.Dump(message), hex.Dump(theirs))
			}
		}
	}
}

func TestLargeTensorsAreSentFromTheirOwnMemory(t *testing.T) {
	large := make([]float32, 1<<20)
	parts, err := encodeRequest(&Request{Inputs: []Tensor{NewTensor(large)}})
	if err != nil {
		t.Fatal(err)
	}
	if last := parts[len(parts)-1]; &last[0] != &bytesOf(large)[0] || len(last) != 4<<20 {
		t.Error("the tensor was copied")
	}
}

// --- the C library, by tests/golden/codec.c -----------------------------------------------

func codec(t testing.TB) string {
	path := filepath.Join(buildDir, "tests/golden_codec")
	if _, err := os.Stat(path); err != nil {
		t.Skip("golden_codec is not built: make")
	}
	return path
}

// recoder gives a function that has the C library write a message again.
func recoder(t testing.TB) func(kind string, message []byte) []byte {
	path, folder := codec(t), t.TempDir()
	return func(kind string, message []byte) []byte {
		in, out := filepath.Join(folder, "in"), filepath.Join(folder, "out")
		if err := os.WriteFile(in, message, 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command(path, "recode", kind, in, out).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		written, err := os.ReadFile(out)
		if err != nil {
			t.Fatalf("the C library refuses it: %v", err)
		}
		return written
	}
}

// What is damaged is read and refused as by the C library.
func TestDamagedAsByTheCLibrary(t *testing.T) {
	for _, c := range []struct{ kind, file string }{{"answer", "resp_two.bin"},
		{"answer", "resp_strings.bin"}, {"answer", "resp_error.bin"}, {"metadata", "resp_metadata.bin"},
		{"request", "req_two_inputs.bin"}, {"request", "req_strings.bin"}} {
		c := c
		t.Run(c.file, func(t *testing.T) { compareDamaged(t, c.kind, golden(t, c.file)) })
	}
}

func compareDamaged(t *testing.T, kind string, message []byte) {
	path, folder := codec(t), t.TempDir()
	arguments := []string{"decode", kind}
	damaged := damage(message)
	for i, bytes := range damaged {
		name := filepath.Join(folder, hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(i))))
		if err := os.WriteFile(name, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, name)
	}
	said, err := exec.Command(path, arguments...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(lines) != len(damaged) {
		t.Fatalf("%d lines for %d messages", len(lines), len(damaged))
	}
	nRead := 0
	for i, line := range lines {
		var theirs struct {
			Status, Error string
			OutputTensors []json.RawMessage `json:"output_tensors"`
			InputTensors  []json.RawMessage `json:"input_tensors"`
		}
		if err := json.Unmarshal([]byte(line), &theirs); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if strings.Contains(theirs.Error, "has a NUL") && !strings.Contains(theirs.Error, "names[") {
			continue // which only C has to mind
		}
		n, isRead := readAny(kind, damaged[i])
		if isRead {
			nRead++
		}
		if isRead != (theirs.Status == "") || (isRead && n !=
			len(theirs.OutputTensors)+len(theirs.InputTensors)) {
			t.Errorf("message %d: read %v, %d tensors; the C library: %s", i, isRead, n, line)
		}
	}
	if nRead == 0 || nRead == len(damaged) {
		t.Errorf("%d of %d were read", nRead, len(damaged))
	}
}

// readAny tells whether a message is read, and how many tensors it has.
func readAny(kind string, message []byte) (int, bool) {
	var said *Error
	switch kind {
	case "metadata":
		_, err := decodeMetadata(message)
		return 0, err == nil
	case "request":
		request, err := decodeRequest(message)
		if err != nil || request == nil {
			return 0, err == nil
		}
		return len(request.Inputs), true
	}
	tensors, err := decodeAnswer(message, 200)
	return len(tensors), err == nil || (errors.As(err, &said) && said.Kind != ErrProtocol)
}

func damage(message []byte) [][]byte {
	var damaged [][]byte
	for n := range message {
		damaged = append(damaged, bytes.Clone(message[:n]))
	}
	change := func(at int, word uint32) {
		changed := bytes.Clone(message)
		binary.LittleEndian.PutUint32(changed[at:], word)
		damaged = append(damaged, changed)
	}
	for at := 0; at+4 <= len(message); at += 4 {
		for _, word := range []uint32{0, 1, 2, 12, 0x7fffffff, 0x80000000, 0xffffffff,
			uint32(len(message) - at - 4)} {
			change(at, word)
		}
		for _, bit := range []int{0, 1, 2, 3, 4, 5, 6, 15, 16, 31} {
			change(at, binary.LittleEndian.Uint32(message[at:])^1<<bit)
		}
	}
	return damaged
}

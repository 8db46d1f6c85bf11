package graphpipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Go functions that are served: to our client, to the program, and to clients of 2018.

func served(t *testing.T, handler *Handler) (*httptest.Server, *Client) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := NewClient(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return server, client
}

func twice(_ context.Context, request *Request) ([]Tensor, error) {
	values, err := Data[float32](request.Inputs[0])
	if err != nil {
		return nil, err
	}
	doubled := make([]float32, len(values))
	for i, v := range values {
		doubled[i] = 2 * v
	}
	shape := request.Inputs[0].Shape
	return []Tensor{{Type: Float32, Shape: shape, Data: bytesOf(doubled)}}, nil
}

var twiceMetadata = Metadata{Name: "twice", Inputs: []IO{{Name: "x", Type: Float32, Shape: []int64{-1, 2}}},
	Outputs: []IO{{Name: "y", Type: Float32, Shape: []int64{-1, 2}}}}

func TestAFunctionIsServed(t *testing.T) {
	_, client := served(t, &Handler{Infer: twice, Metadata: twiceMetadata})
	input := NewTensor([]float32{1, 2, 3, 4}, 2, 2)
	if y, err := Infer[float32](background, client, input); err != nil || y[3] != 8 {
		t.Fatal(y, err)
	}
	outputs, err := client.Infer(background, map[string]Tensor{"x": input})
	if err != nil || outputs["y"].String() != "float32[2,2]" {
		t.Error(outputs, err)
	}
	for words, request := range map[string]*Request{
		`input "x" is float32[4]; the model wants float32[-1,2]`: {Inputs: []Tensor{NewTensor(make([]float32, 4))}},
		`there is no output "z"; the model has y float32[-1,2]`:  {Inputs: []Tensor{input}, OutputNames: []string{"z"}},
		`input "x" is missing`:                   {},
		"2 inputs came":                          {Inputs: []Tensor{input, input}},
		`there is no input "z"; the model has x`: {Inputs: []Tensor{input, input}, InputNames: []string{"x", "z"}},
		`input "x" came twice`:                   {Inputs: []Tensor{input, input}, InputNames: []string{"x", "x"}},
	} {
		_, err := client.Run(background, request)
		expect(t, err, ErrInvalidInput, words)
	}
}

func TestTheProgramAsksAFunction(t *testing.T) {
	needProgram(t)
	server, _ := served(t, &Handler{Infer: twice, Metadata: twiceMetadata})
	out, err := exec.Command(programPath, "infer", server.URL, "float32[1,2]:1.5,-2", "--json").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-4") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = exec.Command(programPath, "inspect", server.URL).CombinedOutput()
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), "inputs x float32[-1,2] outputs") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = exec.Command(programPath, "infer", server.URL, "uint8[2]:1,2").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `input "x" is uint8[2]; the model wants`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestErrorsOfAFunction(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind error
		code int
	}{
		{Errorf(ErrInvalidInput, "no"), ErrInvalidInput, 1}, {Errorf(ErrNotFound, "no"), ErrNotFound, 4},
		{Errorf(ErrBusy, "no"), ErrBusy, 13}, {Errorf(ErrUnavailable, "no"), ErrUnavailable, 15},
		{Errorf(ErrDeadlineExceeded, "no"), ErrDeadlineExceeded, 16}, {Errorf(ErrModel, "no"), ErrModel, 10},
		{errors.New("no\x1b\n"), ErrModel, 10}, {context.DeadlineExceeded, ErrDeadlineExceeded, 16},
	} {
		_, client := served(t, &Handler{Infer: func(context.Context, *Request) ([]Tensor, error) {
			return nil, c.err
		}})
		err := run(client, x)
		expect(t, err, c.kind, oneLine(c.err.Error()))
		var said *Error
		if !errors.As(err, &said) || said.Code != c.code {
			t.Errorf("%v has the code %d", err, said.Code)
		}
	}
	for words, infer := range map[string]func(context.Context, *Request) ([]Tensor, error){
		"the function panicked: so": func(context.Context, *Request) ([]Tensor, error) { panic("so") },
		"holds 4 bytes": func(context.Context, *Request) ([]Tensor, error) {
			return []Tensor{NewTensor([]float32{1}, 2)}, nil
		},
	} {
		_, client := served(t, &Handler{Infer: infer})
		expect(t, run(client, x), ErrModel, words)
	}
	_, client := served(t, &Handler{Infer: twice})
	_, err := Infer[float32](background, client, x, "a", "b")
	expect(t, err, ErrModel, "gave 1 outputs, 2 were asked for")
}

// post sends bytes as a client of 2018 does, without naming our type.
func post(t *testing.T, server *httptest.Server, body []byte) (int, string) {
	t.Helper()
	answer, err := http.Post(server.URL, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func same(_ context.Context, request *Request) ([]Tensor, error) { return request.Inputs, nil }

func TestClientsOf2018(t *testing.T) {
	server, _ := served(t, &Handler{Infer: same})
	for _, c := range goldenCases(t, "InferRequest") {
		status, body := post(t, server, golden(t, c.File))
		tensors, err := decodeAnswer([]byte(body), status)
		if err != nil || !sameTensors(tensors, tensorsOf(t, c.InputTensors)) {
			if n := len(c.OutputNames); n == 0 || n == len(c.InputTensors) {
				t.Errorf("%s: %d %v %v", c.File, status, tensors, err)
			}
		}
	}
	sent := []Tensor{NewTensor([]bool{true}), NewTensor([]BF16{NewBF16(1.5)}), NewTensor([]int8{1})}
	status, body := post(t, server, whole(t)(encodeRequest(&Request{Inputs: sent})))
	tensors, err := decodeAnswer([]byte(body), status)
	if err != nil || !sameTensors(tensors, []Tensor{NewTensor([]uint8{1}), NewTensor([]float32{1.5}),
		NewTensor([]int8{1})}) {
		t.Error(tensors, err)
	}

	newer := Metadata{Inputs: []IO{{"b", "", Bool, []int64{-1}}, {"f", "", BFloat16, []int64{-1}}}}
	server, _ = served(t, &Handler{Infer: same, Metadata: newer})
	_, body = post(t, server, whole(t)(encodeMetadataRequest()))
	metadata, err := decodeMetadata([]byte(body))
	if err != nil || metadata.Inputs[0].Type != Uint8 || metadata.Inputs[1].Type != Float32 {
		t.Error(metadata, err)
	}
	old := []Tensor{NewTensor([]uint8{1, 0}), NewTensor([]float32{1.5, -2})}
	status, body = post(t, server, whole(t)(encodeRequest(&Request{Inputs: old})))
	tensors, err = decodeAnswer([]byte(body), status)
	if err != nil || !sameTensors(tensors, old) {
		t.Error(tensors, err)
	}
	old[0] = NewTensor([]uint8{2, 0})
	if status, body = post(t, server, whole(t)(encodeRequest(&Request{Inputs: old}))); status != 400 ||
		!strings.Contains(body, "a bool is 2") {
		t.Error(status, body)
	}
	if status, body = post(t, server, []byte("{}")); status != 400 || !strings.HasPrefix(body, "request: ") {
		t.Error(status, body)
	}
}

func TestHostileRequests(t *testing.T) {
	server, client := served(t, &Handler{Infer: same, MaxBodyBytes: 1000})
	for _, message := range damage(golden(t, "req_two_inputs.bin"))[:400] {
		if status, _ := post(t, server, message); status != 200 && status != 400 {
			t.Errorf("%d", status)
		}
	}
	expect(t, run(client, NewTensor(make([]uint8, 5000))), ErrInvalidInput, "over the limit of 1000 bytes")
	expect(t, run(client, NewTensor(make([]uint8, 20<<20))), ErrInvalidInput, "over the limit of 1000 bytes")
	request, err := http.NewRequest("POST", server.URL, io.LimitReader(neverEnding{}, 5000))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != 413 {
		t.Error(answer, err)
	}
	_ = answer.Body.Close()
	for timeout, wanted := range map[string]int{"0": 400, "x": 400, "4294967296": 400, "60000": 200} {
		request, _ := http.NewRequest("POST", server.URL, bytes.NewReader(golden(t, "req_uint8.bin")))
		request.Header.Set("X-GraphPipe-Timeout-Ms", timeout)
		answer, err := http.DefaultClient.Do(request)
		if err != nil || answer.StatusCode != wanted {
			t.Error(timeout, answer, err)
		}
		_ = answer.Body.Close()
	}
}

type neverEnding struct{}

func (neverEnding) Read(to []byte) (int, error) { return len(to), nil }

func TestTimeOfAFunction(t *testing.T) {
	done := make(chan struct{})
	_, client := served(t, &Handler{Infer: func(ctx context.Context, _ *Request) ([]Tensor, error) {
		<-ctx.Done() // of the client's time, or since it has left
		close(done)
		return nil, ctx.Err()
	}})
	_, err := client.Run(within(t, 100*time.Millisecond), &Request{Inputs: []Tensor{x}})
	expect(t, err, ErrDeadlineExceeded, "")
	<-done
}

func TestOtherQuestions(t *testing.T) {
	server, _ := served(t, &Handler{Infer: twice, Metadata: twiceMetadata})
	for _, c := range []struct {
		method, path string
		status       int
		words        string
	}{
		{"GET", "/", 200, `"shape": [`}, {"HEAD", "/", 200, ""}, {"PUT", "/", 405, "not allowed"},
		{"GET", "/control/is_alive", 200, "ok\n"}, {"GET", "/control/is_ready", 200, "ok\n"},
		{"POST", "/control/shutdown", 404, ""},
	} {
		request, _ := http.NewRequest(c.method, server.URL+c.path, nil)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != c.status || !strings.Contains(string(text), c.words) {
			t.Errorf("%s %s: %d %s", c.method, c.path, answer.StatusCode, text)
		}
	}
}

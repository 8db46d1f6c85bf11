package graphpipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// Servers that answer whatever they like.

func TestGoodAnswers(t *testing.T) {
	body, one := golden(t, "resp_float32.bin"), float32Answer(t)
	replaced := func(old, new string) []byte { return bytes.Replace(one, []byte(old), []byte(new), 1) }
	interim := bytes.Repeat([]byte("HTTP/1.1 100 Continue\r\n\r\n"), 3)
	for what, text := range map[string][]byte{
		"plain": one, "interim": append(interim, one...), "chunks": chunked(body, 1, 7, 50),
		"one chunk": chunked(body), "1.0": replaced("1.1", "1.0"),
		"close": replaced("\r\nContent-Type", "\r\nConnection: close\r\nContent-Type"),
	} {
		isKept := what != "1.0" && what != "close"
		for _, inPieces := range []bool{false, true} {
			pieces := [][]byte{text}
			if inPieces {
				pieces = nil
				for i := range text {
					pieces = append(pieces, text[i:i+1])
				}
			}
			t.Run(fmt.Sprint(what, inPieces), func(t *testing.T) {
				first := always(pieces...)
				if !isKept {
					first = func(p *peer) {
						p.request()
						p.send(pieces...)
						p.untilClosed()
					}
				}
				server := serve(t, "tcp", first, always(one))
				client := server.client(t)
				for i := 0; i < 2; i++ {
					if values, err := Infer[float32](background, client, x); err != nil || len(values) == 0 {
						t.Fatal(values, err)
					}
				}
				client.Close()
			})
		}
	}
}

func TestBrokenAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	const inChunks = ok + "Transfer-Encoding: chunked\r\n\r\n"
	metadata := good(golden(t, "resp_metadata.bin"))
	for _, text := range []string{
		"\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 99 No\r\n\r\n",
		"HTTP/1.1 101 Switch\r\n\r\n", strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", 9000),
		ok + "\r\n", ok + "NoColon\r\n\r\n", ok + "X: " + strings.Repeat("x", 100000),
		ok + "Content-Length: -1\r\n\r\n", ok + "Content-Length: 1_0\r\n\r\n",
		ok + "Content-Length: 4\r\nContent-Length: 5\r\n\r\n.....",
		ok + "Content-Length: 2147483648\r\n\r\n", ok + "Content-Length: 9999999999999999\r\n\r\n",
		ok + "Content-Length: 99999999999999999999\r\n\r\n",
		ok + "Transfer-Encoding: gzip\r\n\r\n", inChunks + "-1\r\n", inChunks + "1\r\nab\r\n",
		inChunks + "FFFFFFFFFFFFFFFFF\r\n", inChunks + "1;" + strings.Repeat("x", 90000),
		string(good(nil)), string(good([]byte(strings.Repeat("x", 100)))),
		string(answerOf([]byte("<html>"), "200 OK", "text/html")),
		string(answerOf(nil, "200 OK", "text/\x1b[31m")), ok + "\x1b[31m: x\r\n\r\n",
		"HTTP/1.1 \x1b[31m\r\n\r\n",
	} {
		text := text
		t.Run(strconv.Quote(text[:min(len(text), 40)]), func(t *testing.T) {
			server := serve(t, "tcp", once([]byte(text)), always(metadata))
			client := server.client(t)
			err := run(client, x)
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v", err)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 700 {
				t.Errorf("%q", err)
			}
			if m, err := client.Metadata(background); err != nil || len(m.Inputs) == 0 {
				t.Error(m, err) // over another connection
			}
			client.Close()
		})
	}
}

func TestAPageIsNoAnswer(t *testing.T) {
	page := answerOf(golden(t, "resp_float32.bin"), "200 OK", "text/html; charset=utf-8")
	client := serve(t, "tcp", once(page)).client(t)
	expect(t, run(client, x), ErrProtocol, "text/html is no answer of GraphPipe")
}

func TestOtherNumbersOfOutputs(t *testing.T) {
	two := good(golden(t, "resp_two.bin"))
	client := serve(t, "tcp", always(two)).client(t)
	_, err := Infer[float32](background, client, x)
	expect(t, err, ErrInvalidInput, "the model has 2 outputs")
	_, err = Infer[float32](background, client, x, "y")
	expect(t, err, ErrProtocol, "2 outputs, 1 were asked for")
	client.Close()
}

func TestErrorsOfServers(t *testing.T) {
	failed := golden(t, "resp_error.bin")
	for _, c := range []struct {
		text  []byte
		kind  error
		words string
	}{
		{answerOf(failed, "503 x", mediaType), ErrUnavailable, ""},
		{answerOf(nil, "404 Not Found", mediaType), ErrNotFound, "HTTP 404, without a reason"},
		{answerOf([]byte("garbage"), "500 x", mediaType), ErrModel, "HTTP 500, without"},
		{answerOf([]byte("two\nlines \x1b[31m\xff\n"), "429 x", "text/plain"), ErrBusy,
			"two lines \\x1b[31m\ufffd"},
		{answerOf(bytes.Repeat([]byte("x"), 4000000), "502 x", "text/plain"), ErrUnavailable,
			"without a reason"},
		{[]byte("HTTP/1.1 400 x\r\nContent-Length: 100\r\n\r\nlost"), ErrInvalidInput, "HTTP 400"},
		{[]byte("HTTP/1.1 504 x\r\nContent-Length: 0\r\n\r\n"), ErrDeadlineExceeded, "HTTP 504"},
		{answerOf(nil, "302 x", mediaType), ErrRefused, "HTTP 302"},
		{answerOf(whole(t)(encodeError(13, "no room")), "503 x", mediaType), ErrBusy, "no room"},
		{answerOf(whole(t)(encodeError(99, "new")), "404 x", mediaType), ErrNotFound, "new"},
		{good(whole(t)(encodeError(1, "input \"x\""))), ErrInvalidInput, "input \"x\""},
	} {
		server := serve(t, "tcp", once(c.text))
		err := run(server.client(t), x)
		expect(t, err, c.kind, c.words)
		if len(err.Error()) > 600 {
			t.Errorf("%d bytes", len(err.Error()))
		}
	}
	if busy := Errorf(ErrBusy, "x"); !errors.Is(busy, ErrUnavailable) || errors.Is(busy, ErrModel) {
		t.Error("busy is unavailable, and nothing else")
	}
}

func TestAnAnswerThatIsOnlyAnnouncedTakesNoMemory(t *testing.T) {
	some := bytes.Repeat([]byte("x"), 100000)
	for _, head := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 2147483647\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n"} {
		var before, after runtime.MemStats
		client := serve(t, "tcp", once([]byte(head), some)).client(t)
		runtime.ReadMemStats(&before)
		expect(t, run(client, x), ErrUnavailable, "in the middle")
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
			t.Errorf("%d bytes", took)
		}
	}
}

func TestBodiesThatAreLargerThanIsBelieved(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no large memory")
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 300<<20/16)
	for _, length := range []int64{int64(len(data)), -1} {
		got, err := readBody(bytes.NewReader(data), length, maxMessageBytes)
		if err != nil || !bytes.Equal(got, data) {
			t.Error(len(got), err)
		}
		if length > 0 && cap(got) != len(data) {
			t.Error("it is not of the size of the body")
		}
	}
	for _, limit := range []int64{0, 1, 99999, int64(len(data)) - 1} {
		if _, err := readBody(bytes.NewReader(data), -1, limit); !errors.Is(err, errTooLarge) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if _, err := readBody(bytes.NewReader(data[:5]), 9, 9); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if got, err := readBody(bytes.NewReader(data[:9]), -1, 9); err != nil || len(got) != 9 {
		t.Error(got, err)
	}
}

func TestLimitOfAnAnswer(t *testing.T) {
	for _, text := range [][]byte{float32Answer(t), chunked(golden(t, "resp_float32.bin"), 5)} {
		client := serve(t, "tcp", once(text)).client(t, WithMaxAnswer(10))
		expect(t, run(client, x), ErrProtocol, "over the limit of 10")
	}
}

// --- what was found by fuzzing the C client ------------------------------------------------------

// Each file is what a server sends; its first two bytes are for the C client's target.
func TestTheCorpusOfTheCClient(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join(sourceDir, "tests/fuzz/corpus/client/*"))
	if len(paths) < 100 {
		t.Fatal("no corpus")
	}
	sort.Strings(paths)
	scripts := make([]script, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts[i] = once(text[min(2, len(text)):])
	}
	server := serve(t, "tcp", scripts...)
	log.SetOutput(io.Discard) // net/http says what comes unasked
	defer log.SetOutput(os.Stderr)
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	for i := range paths {
		client := server.client(t)
		var err error
		if i%2 == 0 {
			_, err = client.Infer(ctx, map[string]Tensor{"x": x}, "y")
		} else {
			_, err = client.Metadata(ctx)
		}
		var said *Error
		if err != nil && (!errors.As(err, &said) || errors.Is(err, context.DeadlineExceeded) ||
			strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", paths[i], err)
		}
		client.Close()
	}
}

package graphpipe

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Round trips through the echo engine. Beside the client, the limit: the same bytes, prepared, over
// a plain socket into memory that is used again.

var sizes = []struct {
	name string
	n    int
}{{"1KB", 256}, {"602KB", 3 * 224 * 224}, {"77MB", 128 * 3 * 224 * 224}}

func BenchmarkInfer(b *testing.B) {
	server := start(b, "--engine", "echo")
	for _, size := range sizes {
		input := NewTensor(make([]float32, size.n))
		b.Run(size.name+"/client", func(b *testing.B) {
			client := server.client(b)
			b.SetBytes(int64(len(input.Data)))
			for i := 0; i < b.N; i++ {
				if back, err := Infer[float32](background, client, input); err != nil || len(back) != size.n {
					b.Fatal(err)
				}
			}
		})
		b.Run(size.name+"/socket", func(b *testing.B) {
			ask := plainSocket(b, server.address, input)
			b.SetBytes(int64(len(input.Data)))
			for i := 0; i < b.N; i++ {
				ask()
			}
		})
		b.Run(size.name+"/net-http", func(b *testing.B) {
			ask := plainHTTP(b, server.address, input)
			b.SetBytes(int64(len(input.Data)))
			for i := 0; i < b.N; i++ {
				ask()
			}
		})
	}
}

func prepared(b *testing.B, input Tensor) []byte {
	return whole(b)(encodeRequest(&Request{Inputs: []Tensor{input}}))
}

// plainSocket knows that all answers have the size of the first.
func plainSocket(b *testing.B, address string, input Tensor) func() {
	body := prepared(b, input)
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	request := append([]byte(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n",
		mediaType, len(body))), body...)
	memory, size := make([]byte, len(request)+65536), 0
	return func() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if size > 0 {
			if _, err := io.ReadFull(conn, memory[:size]); err != nil {
				b.Fatal(err)
			}
			return
		}
		for wanted := 1; size < wanted; {
			n, err := conn.Read(memory[size:])
			if err != nil {
				b.Fatal(err)
			}
			size += n
			if head, _, ok := strings.Cut(string(memory[:min(size, 4096)]), "\r\n\r\n"); ok {
				_, rest, _ := strings.Cut(head, "Content-Length: ")
				var length int
				if _, err := fmt.Sscan(rest, &length); err != nil {
					b.Fatal(head)
				}
				wanted = len(head) + 4 + length
			}
		}
	}
}

// plainHTTP is what net/http does by itself with prepared bytes.
func plainHTTP(b *testing.B, address string, input Tensor) func() {
	body := prepared(b, input)
	transport := &http.Transport{DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	return func() {
		request, err := http.NewRequest("POST", address, strings.NewReader(string(body[:0])))
		if err != nil {
			b.Fatal(err)
		}
		request.Body, request.ContentLength = newBody([][]byte{body}), int64(len(body))
		request.Header.Set("Accept", mediaType)
		answer, err := transport.RoundTrip(request)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := readBody(answer.Body, answer.ContentLength, maxMessageBytes); err != nil {
			b.Fatal(err)
		}
		_ = answer.Body.Close()
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, size := range sizes {
		input := NewTensor(make([]float32, size.n))
		b.Run(size.name, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				if _, err := encodeRequest(&Request{Inputs: []Tensor{input}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		answer := whole(b)(encodeAnswer([]Tensor{NewTensor(make([]float32, size.n))}))
		b.Run(size.name, func(b *testing.B) {
			for i := 0; i < b.N; i++ {
				if _, err := decodeAnswer(answer, 200); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

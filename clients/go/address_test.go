package graphpipe

import (
	"net"
	"strings"
	"testing"
)

// Addresses, of servers that are there and not.

func TestNoServer(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := taken.Addr().String()
	_ = taken.Close()
	for _, address := range []string{at, "unix:" + t.TempDir() + "/none", "http://nobody.invalid:1",
		"unix:/" + strings.Repeat("x", 200)} {
		client, err := NewClient(address)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, run(client, x), ErrUnavailable, "cannot connect: ")
	}
}

func TestAddresses(t *testing.T) {
	for text, wanted := range map[string]string{
		"http://h": "http://h:9000/", "h:80/a/b": "http://h:80/a/b", "[::1]:5": "http://[::1]:5/",
		"https://h/m": "https://h:443/m", "http://h:1/m?x=y": "http://h:1/m?x=y",
		"unix:/a/b": "unix:/a/b /", "unix:///a/b:/m": "unix:/a/b /m", "unix:rel": "unix:rel /",
	} {
		a, err := parseAddress(text)
		got := a.url.String()
		if a.socket != "" {
			got = a.label + " " + a.url.Path
		}
		if err != nil || got != wanted {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "ftp://x", "http://", "x:0", "x:65536", "a:b:c", "user@host", "unix:",
		"::1", "h\n", "http://x y", "http://x#y", ":9000"} {
		_, err := NewClient(text)
		expect(t, err, ErrInvalidInput, "address ")
	}
	_, err := NewClient("h", WithHeader("X", "a\r\nEvil: b"))
	expect(t, err, ErrInvalidInput, "control characters")
}

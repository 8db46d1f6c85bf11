package graphpipe

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// address is where a server is, and the path of the model that calls are for.
type address struct {
	url    url.URL
	label  string // for errors
	socket string // the path of a unix socket, or ""
}

// parseAddress takes http://HOST[:PORT][/PATH], the same with https, HOST[:PORT][/PATH] and
// unix:/path/of/socket[:/PATH]. The port is 9000 by default, for https 443; an IPv6 host is in
// brackets.
func parseAddress(text string) (address, error) {
	refuse := func(why string) (address, error) {
		return address{}, Errorf(ErrInvalidInput, "address %q %s", text, why)
	}
	if strings.IndexFunc(text, unicode.IsControl) >= 0 {
		return refuse("has control characters")
	}
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		socket, path, _ := strings.Cut(rest, ":/")
		if strings.HasPrefix(socket, "//") {
			socket = "/" + strings.TrimLeft(socket, "/")
		}
		if socket == "" {
			return refuse("has no path after unix:")
		}
		a := address{label: "unix:" + socket, socket: socket}
		a.url = url.URL{Scheme: "http", Host: "localhost", Path: "/" + strings.TrimLeft(path, "/")}
		return a, nil
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.Fragment != "" || strings.ContainsAny(u.Host, " \"") {
		return refuse("is neither http://HOST[:PORT][/PATH] nor unix:/path/of/socket[:/PATH]")
	}
	if strings.Contains(u.Hostname(), ":") && u.Host[0] != '[' {
		return refuse("has too many colons: put an IPv6 host in brackets")
	}
	if u.User != nil {
		return refuse("has a user name, which GraphPipe does not support")
	}
	port := u.Port()
	if number, err := strconv.Atoi(port); port != "" && (err != nil || number < 1 || number > 65535) {
		return refuse("has a port that is not 1 to 65535")
	}
	if port == "" {
		port = map[string]string{"http": "9000", "https": "443"}[u.Scheme]
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	u.Path, u.RawPath = "/"+strings.TrimLeft(u.Path, "/"), ""
	return address{url: *u, label: u.Scheme + "://" + u.Host}, nil
}

// of is the address of another model of the server.
func (a address) of(model string) address {
	a.url.Path, a.url.RawPath, a.url.RawQuery = "/"+strings.Trim(model, "/"), "", ""
	return a
}

// A Go function as a model: y = 2x.
//
//	cd examples/go && go run ./serve 127.0.0.1:9000
//	graphpipe infer 127.0.0.1:9000 "float32[1,2]:1.5,-2"
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"graphpipe.dev/graphpipe"
)

func twice(_ context.Context, request *graphpipe.Request) ([]graphpipe.Tensor, error) {
	x, err := graphpipe.Data[float32](request.Inputs[0])
	if err != nil {
		return nil, err
	}
	y := graphpipe.NewTensor(make([]float32, len(x)))
	y.Shape = request.Inputs[0].Shape
	doubled, err := graphpipe.Data[float32](y)
	for i := range x {
		doubled[i] = 2 * x[i]
	}
	return []graphpipe.Tensor{y}, err
}

func main() {
	listen := "127.0.0.1:9000"
	if len(os.Args) > 1 {
		listen = os.Args[1]
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, &graphpipe.Handler{Infer: twice, Metadata: graphpipe.Metadata{
		Name:    "twice",
		Inputs:  []graphpipe.IO{{Name: "x", Type: graphpipe.Float32, Shape: []int64{-1, 2}}},
		Outputs: []graphpipe.IO{{Name: "y", Type: graphpipe.Float32, Shape: []int64{-1, 2}}},
	}}))
}

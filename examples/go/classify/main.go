// What is in a picture? Asks a served image model (EfficientNet-Lite0).
//
//	cd examples/go && go run ./classify http://127.0.0.1:9000 ../mug.png
//
// The picture, a PNG, JPEG or GIF, becomes float32[1,3,224,224], as the model wants it; the answer is
// the numbers of ImageNet's classes with their probabilities.
package main

import (
	"context"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"log"
	"os"
	"sort"
	"time"

	"graphpipe.dev/graphpipe"
)

const size = 224

// load gives a picture's pixels, RGB, channels first, (x - 127) / 128. One of another size is scaled:
// each pixel is the mean of those that it covers.
func load(path string) ([]float32, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	picture, _, err := image.Decode(file)
	if err != nil {
		return nil, err
	}
	pixels := make([]float32, 3*size*size)
	at := picture.Bounds()
	for y := 0; y < size; y++ {
		for x := 0; x < size; x++ {
			covered := image.Rect(at.Min.X+x*at.Dx()/size, at.Min.Y+y*at.Dy()/size,
				at.Min.X+(x+1)*at.Dx()/size, at.Min.Y+(y+1)*at.Dy()/size)
			for channel, value := range mean(picture, covered) {
				pixels[(channel*size+y)*size+x] = (value - 127) / 128
			}
		}
	}
	return pixels, nil
}

func mean(picture image.Image, of image.Rectangle) [3]float32 {
	of.Max.X, of.Max.Y = max(of.Max.X, of.Min.X+1), max(of.Max.Y, of.Min.Y+1)
	var sum [3]float32
	for y := of.Min.Y; y < of.Max.Y; y++ {
		for x := of.Min.X; x < of.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA() // of 65535
			for i, value := range [3]uint32{r, g, b} {
				sum[i] += float32(value) / 257
			}
		}
	}
	n := float32(of.Dx() * of.Dy())
	return [3]float32{sum[0] / n, sum[1] / n, sum[2] / n}
}

func classify(url, path string) error {
	pixels, err := load(path)
	if err != nil {
		return err
	}
	client, err := graphpipe.NewClient(url)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	start := time.Now()
	probabilities, err := graphpipe.Infer[float32](ctx, client,
		graphpipe.NewTensor(pixels, 1, 3, size, size))
	if err != nil {
		return err
	}
	taken := time.Since(start)
	classes := make([]int, len(probabilities))
	for i := range classes {
		classes[i] = i
	}
	sort.Slice(classes, func(i, j int) bool {
		return probabilities[classes[i]] > probabilities[classes[j]]
	})
	for _, class := range classes[:min(5, len(classes))] {
		fmt.Printf("  %.3f  class %d\n", probabilities[class], class)
	}
	fmt.Printf("  in %.1f ms\n", float64(taken.Microseconds())/1000)
	return nil
}

func main() {
	if len(os.Args) != 3 {
		log.Fatalf("usage: %s URL PICTURE", os.Args[0])
	}
	if err := classify(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// Wire is a slow cable: it makes two Ethernet devices in the network namespace it runs in and carries frames from each
// to the other with a delay, jitter, loss and a limited rate. It does what the kernel's netem does, where there is none.
//
//	wire -a wa-node2 -b wb-node2 -delay 25ms -jitter 2ms -loss 1 -rate 100e6
//
// It prints "ready" when both devices exist, and runs until it is killed. Linux, root.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("wire: ")
	var (
		a, b = flag.String("a", "", "name of one device"), flag.String("b", "", "name of the other device")
		c    cable
	)
	flag.DurationVar(&c.delay, "delay", 0, "delay of each direction")
	flag.DurationVar(&c.jitter, "jitter", 0, "the delay varies by up to this, both ways; order is kept")
	flag.Float64Var(&c.loss, "loss", 0, "percentage of frames lost")
	flag.Float64Var(&c.rate, "rate", 0, "bits per second of each direction; 0 = no limit")
	flag.IntVar(&c.queue, "queue", 4000, "frames under way in each direction, beyond which they are lost")
	flag.Parse()

	x, err := tap(*a)
	if err != nil {
		log.Fatal(err)
	}
	y, err := tap(*b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	os.Stdout.Close()
	go c.carry(y, x)
	c.carry(x, y)
}

// A cable is what each direction does to its frames.
type cable struct {
	delay, jitter time.Duration
	loss, rate    float64
	queue         int
}

// A frame is due at its time.
type frame struct {
	at   time.Time
	data []byte
}

// carry moves frames from one device to another until reading fails, which ends the program.
func (c cable) carry(to io.Writer, from io.Reader) {
	q := make(chan frame, c.queue)
	go func() {
		for f := range q {
			time.Sleep(time.Until(f.at))
			to.Write(f.data) // a device that is down loses it, as a cable does
		}
	}()
	var last, free time.Time // when the last frame is due; when the link has sent all it holds
	for {
		data := make([]byte, 2048)
		n, err := from.Read(data)
		if err != nil {
			log.Fatal(err)
		}
		if rand.Float64()*100 < c.loss {
			continue
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if c.rate > 0 {
			free = free.Add(time.Duration(float64(8*n) / c.rate * float64(time.Second)))
		}
		at := free.Add(c.delay + time.Duration((rand.Float64()*2-1)*float64(c.jitter)))
		if at.Before(last) {
			at = last
		}
		select {
		case q <- frame{at, data[:n]}:
			last = at
		default:
		}
	}
}

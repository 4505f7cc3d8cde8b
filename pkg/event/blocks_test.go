package event

import (
	"fmt"
	"sync"
	"testing"
)

func TestBlocksStayWhole(t *testing.T) {
	var got []int64
	b := NewBlocks(SinkFunc(func(e Event) { got = append(got, e.(StepEnded).Service) }), false)
	const services, steps = 50, 15
	var wg sync.WaitGroup
	for s := int64(1); s <= services; s++ {
		wg.Go(func() {
			block := b.Open()
			defer block.Close()
			for n := 1; n <= steps; n++ {
				block.Emit(StepEnded{Service: s, N: n})
			}
		})
	}
	wg.Wait()
	if len(got) != services*steps {
		t.Fatalf("%d events, want %d", len(got), services*steps)
	}
	seen := map[int64]bool{}
	for i := 0; i < len(got); i += steps {
		if seen[got[i]] {
			t.Fatalf("service %d stands in two places", got[i])
		}
		seen[got[i]] = true
		for n := range steps {
			if got[i+n] != got[i] {
				t.Fatalf("block of service %d is mixed with %d at %d", got[i], got[i+n], i+n)
			}
		}
	}
}

func TestLiveBlocksPassAtOnce(t *testing.T) {
	var got []string
	b := NewBlocks(SinkFunc(func(e Event) { got = append(got, e.Name()) }), true)
	block := b.Open()
	block.Emit(BlockStarted{})
	if fmt.Sprint(got) != "[block_started]" {
		t.Fatalf("after Emit: %v", got)
	}
	block.Close()
	if len(got) != 1 {
		t.Fatalf("Close repeated events: %v", got)
	}
}

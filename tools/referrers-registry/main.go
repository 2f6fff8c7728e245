// An in-memory registry with the referrers API, for tests.
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:5000", "where to listen")
	flag.Parse()
	log.Fatal(http.ListenAndServe(*address, registry.New(registry.WithReferrersSupport(true))))
}

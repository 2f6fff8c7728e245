// docker-registry serves what Docker's registry 2.8 does, which Debian and many others still run:
// its own application, with files as storage, basic authentication and token services.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/docker/distribution/configuration"
	"github.com/docker/distribution/registry/handlers"

	_ "github.com/docker/distribution/registry/auth/htpasswd"
	_ "github.com/docker/distribution/registry/auth/token"
	_ "github.com/docker/distribution/registry/storage/driver/filesystem"
)

func main() {
	// As the registry itself is started: docker-registry serve CONFIG
	if len(os.Args) != 3 || os.Args[1] != "serve" {
		log.Fatal("usage: docker-registry serve CONFIG")
	}
	file, err := os.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	settings, err := configuration.Parse(file)
	if err != nil {
		log.Fatal(err)
	}
	application := handlers.NewApp(context.Background(), settings)
	log.Fatal(http.ListenAndServe(settings.HTTP.Addr, application))
}

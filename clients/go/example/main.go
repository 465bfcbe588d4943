// Command example answers GET /api/users with the rows of the user whose token the request bears.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"google.golang.org/grpc/codes"

	"usher.dev/client-go/usher"
)

func main() {
	client, err := usher.New("") // at USHER_ADDRESS
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		status, body := users(client, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/api/users\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}

func users(client *usher.Client, r *http.Request) (int, any) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return 401, map[string]string{"error": "no bearer token"}
	}
	// No WHERE: row-level security decides whose rows there are.
	user := client.WithToken(token).With(usher.QueryOptions{ReadOnly: true})
	rows, err := user.Query(r.Context(), "SELECT id, name, email FROM users")
	if failed := (*usher.Error)(nil); errors.As(err, &failed) {
		status := map[codes.Code]int{
			codes.Unauthenticated: 401, codes.InvalidArgument: 401, codes.PermissionDenied: 403, codes.Unavailable: 503,
		}
		return cmp.Or(status[failed.Code], 500), map[string]string{"error": failed.Reason}
	}
	objects := make([]map[string]any, rows.Len())
	for row := range objects {
		objects[row] = map[string]any{"id": rows.Value(row, 0), "name": rows.Value(row, 1), "email": rows.Value(row, 2)}
	}
	return 200, objects
}

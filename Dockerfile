FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# Without cgo the binary is static and runs in an empty image.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/tusd-filelock ./cmd/tusd-filelock
# An empty image has no shell for mkdir and chown, so the upload directory is made here.
RUN mkdir -p /out/rootfs/srv/tusd-data

FROM scratch
# The http hooks verify certificates with these.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tusd-filelock /usr/local/bin/tusd-filelock
# A new named volume takes over content and owner of the directory that it is mounted on,
# which makes it writable for the user below.
COPY --from=build --chown=1000:1000 /out/rootfs/ /
WORKDIR /srv
USER 1000:1000
VOLUME ["/srv/tusd-data"]
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/tusd-filelock"]
CMD ["-upload-dir", "/srv/tusd-data"]

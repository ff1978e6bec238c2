// Drives tus-js-client: node client.mjs SCENARIO ENDPOINT OTHER_ENDPOINT FILE DIRECTORY
// The servers behind both endpoints keep their uploads in DIRECTORY.
// Nothing is retried, so that every error of a server ends the program.
// It prints one JSON object: url of the upload (null: terminated), pauses (offsets).
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import * as tus from 'tus-js-client'

const [scenario, endpoint, otherEndpoint, file, directory] = process.argv.slice(2)
const { size } = await stat(file)

// start begins an upload and returns it with the promise of its end.
function start(options, source = createReadStream(file)) {
  let upload
  const done = new Promise((resolve, reject) => {
    upload = new tus.Upload(source, {
      endpoint,
      retryDelays: null,
      onSuccess: () => resolve(upload.url),
      onError: reject,
      ...options,
    })
    upload.start()
  })
  return { upload, done }
}

// stallingFile reads the file, but each slice of it goes silent after this many bytes.
function stallingFile(bytes) {
  return {
    openFile: async () => ({
      size,
      slice: async (start, end) => {
        const value = Readable.from((async function* () {
          yield* createReadStream(file, { start, end: Math.min(start + bytes, end) - 1 })
          await new Promise(() => {})
        })())
        value.size = end - start
        return { value, done: end >= size }
      },
      close() {},
    }),
  }
}

// stallInTheMiddle starts an upload and returns it when the server has a fifth of the data
// more and waits for the rest, on a connection that stays open.
async function stallInTheMiddle(options) {
  const part = Math.floor(size / 5)
  const before = options?.uploadUrl ? await stored(options.uploadUrl) : 0
  const { upload, done } = start({ fileReader: stallingFile(part), ...options })
  await Promise.race([done, reached(upload, before + part)])
  return upload
}

async function reached(upload, bytes) {
  while (!upload.url || (await stored(upload.url)) < bytes) await setTimeout(2)
}

const idOf = (url) => url.split('/').pop()

// stored is how much of the upload is on disk. Nobody has to be asked for that.
const stored = async (url) => (await stat(join(directory, idOf(url)))).size

async function offset(url) {
  const resp = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
  if (!resp.ok) throw new Error(`HEAD: ${resp.status}`)
  return Number(resp.headers.get('Upload-Offset'))
}

const scenarios = {
  async upload() {
    return { url: await start().done }
  },

  // Three pauses, each resumed at once at the other server, by an object that knows no more
  // than the URL.
  async pause() {
    const pauses = []
    let uploadUrl
    for (const next of [otherEndpoint, endpoint, otherEndpoint]) {
      const upload = await stallInTheMiddle({ uploadUrl })
      await upload.abort()
      pauses.push(await offset(upload.url))
      uploadUrl = new URL(idOf(upload.url), next).href
    }
    return { url: await start({ uploadUrl }).done, pauses }
  },

  // The old connection stays open, as after a change of the network, and a second object
  // goes on, now at the same server, now at the other one.
  async takeover() {
    const first = await stallInTheMiddle()
    const second = await stallInTheMiddle({ uploadUrl: first.url })
    const pauses = [await offset(second.url)]
    const url = await start({ uploadUrl: new URL(idOf(first.url), otherEndpoint).href }).done
    return { url, pauses }
  },

  async parallel() {
    return { url: await start({ parallelUploads: 4 }).done }
  },

  async terminate() {
    const upload = await stallInTheMiddle()
    await upload.abort(true)
    await tus.Upload.terminate(await start().done, { retryDelays: null })
    return { url: null }
  },

  async concatenation() {
    const half = Math.floor(size / 2)
    const parts = [{ start: 0, end: half - 1 }, { start: half, end: size - 1 }]
    const urls = await Promise.all(parts.map((range) => {
      const part = new PassThrough()
      createReadStream(file, range).pipe(part)
      return start({
        headers: { 'Upload-Concat': 'partial' },
        uploadSize: range.end - range.start + 1,
        chunkSize: 1 << 20,
      }, part).done
    }))
    const resp = await fetch(endpoint, {
      method: 'POST',
      headers: { 'Tus-Resumable': '1.0.0', 'Upload-Concat': `final;${urls.join(' ')}` },
    })
    if (resp.status !== 201) throw new Error(`POST: ${resp.status} ${await resp.text()}`)
    return { url: resp.headers.get('Location') }
  },

  async deferred() {
    const stream = new PassThrough()
    createReadStream(file).pipe(stream)
    return { url: await start({ uploadLengthDeferred: true, chunkSize: 1 << 20 }, stream).done }
  },
}

const result = await scenarios[scenario]()
console.log(JSON.stringify({ pauses: [], ...result }))
// Stalled connections are still open.
process.exit(0)

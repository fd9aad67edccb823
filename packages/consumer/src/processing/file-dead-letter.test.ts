import { appendFile, type FileHandle, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ConsumerRecord } from './consumer-record.ts'
import { type DeadLetter, deadLetterOf } from './dead-letter.ts'
import { fileDeadLetter } from './file-dead-letter.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dead-letters-'))
})
afterEach(() => rm(directory, { recursive: true }))

const context = { signal: new AbortController().signal }

function letterOf(text: string, kind: DeadLetter['kind'] = 'record', cause?: { readonly error: unknown }): DeadLetter {
  const source = { stream: 'flights', shardId: 'shardId-1', sequenceNumber: '7', arrivedAt: new Date(1_000) }
  const record = new ConsumerRecord(source, 'ATL', '17', Buffer.from(text), 3, false)
  const firstFailedAt = new Date(2_000)
  const { error } = cause ?? { error: new TypeError('no') }
  return deadLetterOf(record, kind, { error, attempts: 4, firstFailedAt }, { application: 'delays', workerId: 'w' })
}

async function linesOf(path: string): Promise<Record<string, unknown>[]> {
  const lines = (await readFile(path, 'utf8')).split('\n')
  expect(lines.pop()).toBe('')
  return lines.map((line) => JSON.parse(line))
}

test('a letter is a line of JSON with all it tells', async () => {
  const path = join(directory, 'letters.ndjson')
  await fileDeadLetter(path)(letterOf('späť'), context)
  expect(await linesOf(path)).toEqual([
    {
      kind: 'record',
      application: 'delays',
      worker: 'w',
      stream: 'flights',
      shardId: 'shardId-1',
      sequenceNumber: '7',
      subSequenceNumber: 3,
      arrivedAt: '1970-01-01T00:00:01.000Z',
      partitionKey: 'ATL',
      explicitHashKey: '17',
      data: Buffer.from('späť').toString('base64'),
      attempts: 4,
      firstFailedAt: '1970-01-01T00:00:02.000Z',
      error: { name: 'TypeError', message: 'no', stack: expect.stringContaining('TypeError: no') },
    },
  ])
})

test('what was thrown may be anything', async () => {
  const path = join(directory, 'letters.ndjson')
  const send = fileDeadLetter(path)
  for (const error of [undefined, null, 'text', { code: 7 }, Symbol('s')]) {
    await send(letterOf('', 'undecodable', { error }), context)
  }
  const messages = (await linesOf(path)).map(({ error }) => (error as { message: string }).message)
  expect(messages).toEqual(['undefined', 'null', 'text', '[object Object]', 'Symbol(s)'])
})

test('letters that come at once are all there, each resolved when it is', async () => {
  const path = join(directory, 'letters.ndjson')
  const send = fileDeadLetter(path)
  const texts = Array.from({ length: 50 }, (_, index) => String(index))
  await Promise.all(
    texts.map(async (text) => {
      await send(letterOf(text), context)
      expect(await readFile(path, 'utf8')).toContain(`"${Buffer.from(text).toString('base64')}"`)
    }),
  )
  const got = (await linesOf(path)).map(({ data }) => Buffer.from(String(data), 'base64').toString())
  expect(got).toEqual(texts)
})

test('a letter is on the disk, and so is the name of a new file, before it counts', async () => {
  const path = join(directory, 'letters.ndjson')
  const handle = await open(directory, 'r')
  const sync = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'sync')
  await handle.close()
  const send = fileDeadLetter(path)
  await send(letterOf('1'), context)
  expect(sync).toHaveBeenCalledTimes(2)
  await send(letterOf('2'), context)
  expect(sync).toHaveBeenCalledTimes(3)
  sync.mockRejectedValueOnce(new Error('disk gone'))
  await expect(send(letterOf('3'), context)).rejects.toThrow('disk gone')
  sync.mockRestore()
})

test('half a line, left by a crash, spoils none of those after it', async () => {
  const path = join(directory, 'letters.ndjson')
  await appendFile(path, '{"kind":"rec')
  await fileDeadLetter(path)(letterOf('whole'), context)
  const [half, whole] = (await readFile(path, 'utf8')).split('\n')
  expect(half).toBe('{"kind":"rec')
  expect(JSON.parse(whole!)).toMatchObject({ kind: 'record' })
})

test('a file that was moved away is made anew', async () => {
  const path = join(directory, 'letters.ndjson')
  const send = fileDeadLetter(path)
  await send(letterOf('1'), context)
  await rename(path, `${path}.1`)
  await send(letterOf('2'), context)
  expect(await linesOf(path)).toHaveLength(1)
})

test('one that can not be written is rejected, and those after it are written once it can', async () => {
  const path = join(directory, 'later', 'letters.ndjson')
  const send = fileDeadLetter(path)
  await expect(send(letterOf('1'), context)).rejects.toThrow('ENOENT')
  await mkdir(join(directory, 'later'))
  await send(letterOf('1'), context)
  expect(await linesOf(path)).toHaveLength(1)
})

test('what is no path is refused', () => {
  for (const path of ['', undefined, 7]) {
    expect(() => fileDeadLetter(path as string)).toThrow('fileDeadLetter: expected the path of a file, got')
  }
})

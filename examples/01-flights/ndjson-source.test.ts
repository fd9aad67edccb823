import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { NdjsonSource, parseLine } from './ndjson-source.ts'
import { type Source, SourceError, type SourceRecord } from './source.ts'

const folder = mkdtempSync(join(tmpdir(), 'ndjson-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(content: string | Uint8Array): string {
  const path = join(folder, 'input.ndjson')
  writeFileSync(path, content)
  return path
}

async function readAll(source: Source): Promise<SourceRecord[]> {
  const records: SourceRecord[] = []
  for await (const batch of source.batches()) records.push(...batch)
  return records
}

describe('a file of JSON lines', () => {
  test('gives each line with the key at the path, blank lines skipped', async () => {
    const path = file('\ufeff{"user":{"id":"ann"}}\r\n\n  {"user":{"id":"bob"},"n":1}  \n{"user":{"id":"ann"}}')
    const source = await NdjsonSource.open(path, 'user.id', Number.POSITIVE_INFINITY)
    expect(source.total).toBe(3)
    expect(await readAll(source)).toEqual([
      { key: 'ann', json: '{"user":{"id":"ann"}}' },
      { key: 'bob', json: '{"user":{"id":"bob"},"n":1}' },
      { key: 'ann', json: '{"user":{"id":"ann"}}' },
    ])
    expect(await source.totals()).toEqual(
      new Map([
        ['ann', { count: 2, sum: 42 }],
        ['bob', { count: 1, sum: 27 }],
      ]),
    )
  })

  test('of many chunks is read whole, and no further than asked', async () => {
    const lines = Array.from({ length: 20_000 }, (_, id) => `{"id":${id},"text":"${'é'.repeat(id % 50)}"}`)
    const path = file(`${lines.join('\n')}\n`)
    const whole = await NdjsonSource.open(path, 'id', Number.POSITIVE_INFINITY)
    expect((await readAll(whole)).map(({ json }) => json)).toEqual(lines)
    const some = await NdjsonSource.open(path, 'id', 12_345)
    expect(some.total).toBe(12_345)
    expect((await readAll(some)).at(-1)?.key).toBe('12344')
  })

  test.each([
    ['an empty file', '', 'expected at least one JSON object'],
    ['a Parquet file', 'PAR1 and so on', 'this is a Parquet file'],
    ['a gzipped file', Uint8Array.of(0x1f, 0x8b, 8, 0), 'this is gzipped'],
    ['text that is not UTF-8', Buffer.from('{"id":1}\n{"id":"\xe9"}', 'latin1'), 'line 2: expected UTF-8'],
    ['a broken line', '{"id":1}\n{"id":\n', 'input.ndjson, line 2: expected a JSON object:'],
    ['an endless line', `{"id":1}\n${'x'.repeat(3_000_000)}`, 'line 2: longer than a record may be'],
  ])('%s is refused', async (_name, content, message) => {
    const opening = NdjsonSource.open(file(content), 'id', Number.POSITIVE_INFINITY)
    await expect(opening).rejects.toThrow(SourceError)
    await expect(opening).rejects.toThrow(message)
  })

  test('a file that is not there, or a folder, is refused', async () => {
    await expect(NdjsonSource.open(join(folder, 'none'), 'id', 1)).rejects.toThrow(/none can't be read: ENOENT/)
    await expect(NdjsonSource.open(folder, 'id', 1)).rejects.toThrow(SourceError)
  })
})

describe('a line', () => {
  test.each([
    ['{"id":12345678901234567890}', '12345678901234567890'],
    ['{"id":42}', '42'],
    ['{"id":1.50}', '1.50'],
    ['{"id":"ä"}', 'ä'],
  ])('%s has the key as it is written', (text, key) => {
    expect(parseLine(text, 'id', 'here')).toEqual({ key, json: text })
  })

  test('of an empty object has no key, and one with space inside is no different', () => {
    expect(() => parseLine('{ }', 'id', 'here')).toThrow('expected a string or a number at "id" (--key), got nothing')
  })

  test.each([
    ['[1]', 'here: expected a JSON object, got an array'],
    ['null', 'here: expected a JSON object, got null'],
    ['7', 'here: expected a JSON object, got a number'],
    ['{"#":1,"id":1}', 'here: the field "#" is taken'],
    ['{"id":{}}', 'at "id" (--key), got an object'],
    ['{"id":null}', 'at "id" (--key), got null'],
    ['{"id":""}', '1 to 256 characters'],
    [`{"id":"${'x'.repeat(257)}"}`, 'has 257'],
    [`{"id":1,"text":"${'x'.repeat(2 ** 20)}"}`, 'has at most 1048576 bytes'],
  ])('is refused for the reason: %#', (text, message) => {
    const parse = () => parseLine(text, 'id', 'here')
    expect(parse).toThrow(SourceError)
    expect(parse).toThrow(message)
  })

  test('finds no key in a prototype or in a string', () => {
    expect(() => parseLine('{"a":"text"}', 'a.length', 'here')).toThrow('got nothing')
    expect(() => parseLine('{"a":1}', 'constructor.name', 'here')).toThrow('got nothing')
  })
})

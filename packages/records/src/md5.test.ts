import { hash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { md5OfShortAscii } from './md5.ts'

function md5(text: string): string | undefined {
  const bytes = Buffer.alloc(16)
  return md5OfShortAscii(text, new DataView(bytes.buffer, bytes.byteOffset, 16)) ? bytes.toString('hex') : undefined
}

test('is the MD5 of ASCII text of every length that fits a block', () => {
  for (let length = 0; length <= 55; length++) {
    const text = Array.from({ length }, (_, index) => String.fromCharCode((index * 37 + length) & 0x7f)).join('')
    expect(md5(text)).toBe(hash('md5', text))
  }
})

test('is the MD5 of any short ASCII text, whatever came before', () => {
  const ascii = fc.string({ unit: 'binary-ascii', maxLength: 55 })
  fc.assert(
    fc.property(ascii, (text) => md5(text) === hash('md5', text)),
    { numRuns: 1_000 },
  )
})

test('answers false to longer text and to what is not ASCII, and leaves the digest as it is', () => {
  const digest = new DataView(new ArrayBuffer(16))
  for (const text of ['x'.repeat(56), 'é', '\x80', '日本', `${'x'.repeat(54)}\ud800`]) {
    expect(md5OfShortAscii(text, digest)).toBe(false)
  }
  expect(new Uint8Array(digest.buffer)).toEqual(new Uint8Array(16))
})

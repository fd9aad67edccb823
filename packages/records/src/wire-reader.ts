import { FIXED_32, FIXED_64, GROUP_END, GROUP_START, LENGTH_DELIMITED, VARINT } from './aggregate-format.ts'

/** Bytes that aren't the message they should be. */
export class MalformedError extends Error {
  override readonly name: string = 'MalformedError'
}

/** Reads protobuf's wire format. Every read moves forward and stays inside the bytes, or throws a MalformedError. */
export class WireReader {
  readonly bytes: Buffer
  at: number
  end: number

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  /** A varint of up to 64 bits. Above 2^53 it is inexact, and above every length and index that can be right. */
  varint(): number {
    const bytes = this.bytes
    if (this.at < this.end && bytes[this.at]! < 0x80) return bytes[this.at++]!
    let value = 0
    let scale = 1
    for (let count = 0; count < 10; count++) {
      if (this.at >= this.end) throw new MalformedError(`the message ends inside a number, at byte ${this.at}`)
      const byte = bytes[this.at++] as number
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 0x80
    }
    throw new MalformedError(`a number of more than 10 bytes before byte ${this.at}`)
  }

  /** The tag of a field: its number × 8 + its wire type. */
  tag(): number {
    const at = this.at
    const tag = this.varint()
    if (tag < 8 || tag > 0xffff_ffff) throw new MalformedError(`no field has the tag ${tag}, at byte ${at}`)
    return tag
  }

  /** The length of a length-delimited field, known to fit; the field starts at `at`. */
  length(): number {
    const at = this.at
    const length = this.varint()
    if (length > this.end - this.at) {
      throw new MalformedError(`a field of ${length} bytes where ${this.end - this.at} are left, at byte ${at}`)
    }
    return length
  }

  /** A text; bytes that aren't UTF-8 become U+FFFD. */
  text(): string {
    const length = this.length()
    const start = this.at
    this.at += length
    return this.bytes.toString('utf8', start, this.at)
  }

  /** Goes past the field whose tag was just read; groups, which nobody writes any more, included. */
  skip(tag: number): void {
    if ((tag & 7) === LENGTH_DELIMITED) {
      this.#forward(this.length())
      return
    }
    const openGroups: number[] = []
    let current = tag
    for (;;) {
      const field = current >>> 3
      switch (current & 7) {
        case VARINT:
          this.varint()
          break
        case FIXED_64:
          this.#forward(8)
          break
        case LENGTH_DELIMITED:
          this.#forward(this.length())
          break
        case GROUP_START:
          openGroups.push(field)
          break
        case GROUP_END:
          if (openGroups.pop() !== field) {
            throw new MalformedError(`a group of field ${field} ends that didn't start, before byte ${this.at}`)
          }
          break
        case FIXED_32:
          this.#forward(4)
          break
        default:
          throw new MalformedError(`no wire type is ${current & 7}, before byte ${this.at}`)
      }
      if (openGroups.length === 0) return
      current = this.tag()
    }
  }

  #forward(bytes: number): void {
    if (bytes > this.end - this.at) {
      throw new MalformedError(`a field of ${bytes} bytes where ${this.end - this.at} are left, at byte ${this.at}`)
    }
    this.at += bytes
  }
}

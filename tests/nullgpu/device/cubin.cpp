// Reads from a cubin, the ELF file that ptxas writes, what its kernels take. Its section .nv.info is a list of records:
// format (1 byte), attribute (1), and a value (2) or, in format 4, the size of what follows: symbol (4), value (4).
#include "device.h"

#include <elf.h>

#include <cstring>

namespace {

constexpr uint8_t SIZED = 4, REGISTERS = 0x2f, FRAME_SIZE = 0x11;

uint32_t word(const char *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

}  // namespace

std::map<std::string, Resources> resources(const void *image) {
    auto file = (const char *)image;
    auto header = (const Elf64_Ehdr *)file;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return {};
    auto sections = (const Elf64_Shdr *)(file + header->e_shoff);
    const char *section_names = file + sections[header->e_shstrndx].sh_offset;

    const Elf64_Sym *symbols = nullptr;
    const char *symbol_names = nullptr;
    for (int i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB) {
            symbols = (const Elf64_Sym *)(file + sections[i].sh_offset);
            symbol_names = file + sections[sections[i].sh_link].sh_offset;
        }

    std::map<std::string, Resources> found;
    for (int i = 0; i < header->e_shnum; i++) {
        std::string name = section_names + sections[i].sh_name;
        const std::string shared = ".nv.shared.";
        if (name.rfind(shared, 0) == 0) found[name.substr(shared.size())].shared_bytes = sections[i].sh_size;
        if (name != ".nv.info" || !symbols) continue;
        const char *record = file + sections[i].sh_offset, *end = record + sections[i].sh_size;
        while (record + 4 <= end) {
            uint8_t format = record[0], kind = record[1];
            uint16_t size = 0;
            memcpy(&size, record + 2, sizeof size);
            record += 4;
            if (format != SIZED) continue;
            if (kind == REGISTERS || kind == FRAME_SIZE) {
                Resources &kernel = found[symbol_names + symbols[word(record)].st_name];
                (kind == REGISTERS ? kernel.registers : kernel.spilled_bytes) = word(record + 4);
            }
            record += size;
        }
    }
    return found;
}
